"""OAuth 2.0 tokens of bots: replaced before they end, by refresh tokens that X takes once.

port        what is asked of X's token endpoint
endpoint    that endpoint over HTTP
clients     the apps' clients and their secrets
keeping     what is asked of secure_bot_data: claim, lease, store, release
refresher   the procedure that loses no account
fresh       the same with the bot's record kept in line
"""
