"""Money and limits beside the hot path: settings, prices, reads that are counted, the keys of apps.

    settings    default prices, and how many posts of an account go out in 15 minutes
    prices      what a bot's posts cost, and whether a budget has room for them
    counting    calls to X other than posts, counted in memory and written every second
    keys        the secrets of apps at secure_bot_data

What happens within the publisher's transactions is in `domain/{money,limits,reserving,settling}.py` and `store/{money,settling}.py`.
"""
