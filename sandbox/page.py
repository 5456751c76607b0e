"""`GET /`: what this X displays now, as one HTML page for people.

Rendered here, without a script; everything that came from outside is escaped; the page may load nothing (its content
security policy allows its one style sheet by hash). It reloads itself every few seconds until told not to.
"""

import base64
import hashlib
import html

from aiohttp import web

from sandbox.clock import rfc3339
from sandbox.store import Account, Post
from sandbox.world import World

SHOWN_POSTS = 50
REFRESH_SECONDS = 5
_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 0 auto; padding: 1rem; }
header p, .about { color: light-dark(#536471, #9aa7b0); margin: .25rem 0; }
article { border: 1px solid light-dark(#cfd9de, #38444d); border-radius: .75rem; padding: .75rem 1rem; margin: .75rem 0; }
h2 { font-size: 1rem; margin: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """The page over one World."""

    def __init__(self, world: World) -> None:
        self._store = world.store

    def routes(self) -> list[web.RouteDef]:
        """Path → handler."""
        return [web.get("/", self._show)]

    async def _show(self, request: web.Request) -> web.Response:
        live = request.query.get("refresh") != "off"
        posts = self._store.posts()
        newest = posts[: -SHOWN_POSTS - 1 : -1]
        articles = "\n".join(self._article(post) for post in newest) or "<p>Nothing has been posted yet.</p>"
        page = _document(articles, len(posts), live=live)
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    def _article(self, post: Post) -> str:
        about = [
            _plural(self._store.metrics(post.id), name) for name in ("impression", "like", "repost", "reply")
        ]
        if post.media_ids:
            about.append(f"{len(post.media_ids)} attached media")
        lines = [
            f'<article aria-labelledby="p{post.id}">',
            f'<h2 id="p{post.id}">@{_handle(self._store.account(post.user_id))}</h2>',
            f'<p class="about"><time datetime="{rfc3339(post.created_ms)}">{rfc3339(post.created_ms)}</time></p>',
        ]
        if post.in_reply_to:
            answered = self._store.post(post.in_reply_to)
            author = _handle(self._store.account(answered.user_id)) if answered else ""
            lines.append(f'<p class="about">In reply to {f"@{author}" if author else "a deleted post"}</p>')
        lines.append(f'<p class="text">{html.escape(post.text)}</p>')
        if post.poll:
            options = "".join(f"<li>{html.escape(option)}</li>" for option in post.poll.options)
            lines.append(f'<ul aria-label="Poll">{options}</ul>')
        lines += [f'<p class="about">{" · ".join(about)} · id {post.id}</p>', "</article>"]
        return "\n".join(lines)


def _document(articles: str, total: int, *, live: bool) -> str:
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if live else ""
    switch = (
        f'Refreshes every {REFRESH_SECONDS} seconds. <a href="/?refresh=off">Stop refreshing</a>'
        if live
        else 'Does not refresh. <a href="/">Refresh automatically</a>'
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh}
<title>X sandbox: {total} posts</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>X sandbox</h1>
<p>A local stand-in for X. It displays {total} posts, newest first; at most {SHOWN_POSTS} are shown.</p>
<p>{switch}</p>
</header>
<main>
{articles}
</main>
</body>
</html>
"""


def _handle(account: Account | None) -> str:
    return html.escape(account.handle) if account else ""


def _plural(metrics: dict[str, int], name: str) -> str:
    count = metrics[f"{name}_count"]
    plural = {"reply": "replies"}.get(name, f"{name}s")
    return f"{count} {name if count == 1 else plural}"
