"""bot_manager: bots and what they publish, each post exactly once.

owns       bots and their states, the ledger of posts (intents, outcomes, story), counters read back from X
gives      bots, posts, timelines and statistics to people; what happens, as it happens, to those who watch and to webhooks
never      keeps a credential: secure_bot_data does, and lends it for one call; never repeats a call whose outcome is unknown
called by  the gateway for people
calls      secure_bot_data (StoreBotSecret, LeaseBotSecret, Claim- and ReleaseSecretRotation, RevokeBotLeases, DestroyBotSecrets, Encrypt,
           Decrypt), X by its own port and token endpoint, the addresses of webhooks and feeds
stores     PostgreSQL: apps, bots, posts with parts, attempts and story, schedules and occurrences, media with their bytes, events, webhooks
           with their log, readings, limits and money, connect flows, what is still to be ended or destroyed; actions leave by the outbox to
           JetStream and come back to a worker
"""
