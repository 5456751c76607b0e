"""bot_manager: bots and what they publish, each post exactly once.

owns       bots and their states, the ledger of posts (intents, outcomes, story), counters read back from X
gives      bots, posts, timelines and statistics to people; what happens, as it happens, to those who watch and to webhooks
never      keeps a credential: secure_bot_data does, and lends it for one call; never repeats a call whose outcome is unknown
called by  the gateway for people
calls      secure_bot_data (StoreBotSecret, LeaseBotSecret, RevokeBotLeases, Encrypt, Decrypt), X by its own port, the addresses of
           webhooks
stores     PostgreSQL: bots, posts, parts, attempts, story, events, webhooks with their log, readings, leases to be ended; actions leave by the outbox to JetStream and come back to a worker
"""
