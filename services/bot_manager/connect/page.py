"""The page at the end of a connect flow: HTML without script or style, everything in it escaped. How a refusal looks is the gateway's."""

import html

from services.bot_manager.connect.flow import Connected
from services.bot_manager.domain.model import BotState
from services.bot_manager.store.ports import OAuthConnect


def connected_page(connect: OAuthConnect, connected: Connected, request_id: str) -> bytes:
    """For the person who has come back from X."""
    bot, account = connected.verification.bot, connected.verification.account
    lines = [
        f"<p>@{html.escape(account.handle if account else bot.handle)} is connected to the bot"
        f" {html.escape(bot.display_name)}.</p>",
        f"<p>X granted: {html.escape(', '.join(connected.scopes))}.</p>",
    ]
    if not connected.lasting:
        lines.append("<p>X gave no refresh token: the account has to be connected again in two hours.</p>")
    if bot.state is not BotState.ACTIVE:
        lines.append(f"<p>The bot is {html.escape(bot.state.value)} and does not publish.</p>")
    lines += [
        f'<p><a href="{html.escape(connect.return_path)}">Back to the console</a></p>',
        f"<p><small>Request {html.escape(request_id)}</small></p>",
    ]
    content = "\n".join(lines)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Account connected</title></head>\n'
        f"<body>\n<main>\n<h1>Account connected</h1>\n{content}\n</main>\n</body>\n</html>\n"
    ).encode()
