"""bot_manager: bots and what they publish, each post exactly once.

owns       apps, bots and their states, schedules, media, the ledger of posts (intents, outcomes, story), limits and money, counters read back
           from X
gives      all of it, timelines, quota and statistics to people; what happens, as it happens, to those who watch and to webhooks
never      keeps a credential: secure_bot_data does, and lends it for the length of a lease; never repeats a call whose outcome is unknown
called by  the gateway for people
calls      secure_bot_data (StoreBotSecret, LeaseBotSecret, Claim- and ReleaseSecretRotation, RevokeBotLeases, DestroyBotSecrets, Encrypt,
           Decrypt), X by its own port and token endpoint, the addresses of webhooks and feeds
stores     PostgreSQL: apps, bots, posts with parts, attempts, story and fingerprints, schedules and occurrences, feeds as they were seen,
           media with their bytes, events, webhooks with their log, readings, limits and money, connect flows, what is still to be ended or
           destroyed; actions leave by the outbox to JetStream and come back to a worker
"""
