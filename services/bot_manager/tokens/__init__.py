"""OAuth 2.0 tokens of bots: replaced before they end, by refresh tokens that X takes once.

    port        what is asked of X's token endpoint
    keeping     what is asked of secure_bot_data: claim, lease, store, release
    refresher   the procedure that loses no account

No adapter to X's endpoint stands behind the port yet, so nothing assembles this.
"""
