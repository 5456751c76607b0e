"""No template is sent as it is written. A `Check`, and the last line of defence: posts are rendered when they get their time."""

from mesh.clock import Clock
from services.bot_manager.domain.model import Bot, Failure, Part, Post
from services.bot_manager.publishing.checks import GiveUp


class Rendered:
    """See the module."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, post: Post, bot: Bot, part: Part) -> GiveUp | None:
        """See the port."""
        if "template" not in post.content or part.rendered_text or not part.text:
            return None
        told = "its template was not rendered; edit the post, or try it again"
        return GiveUp(Failure("TEMPLATE_FAILED", told, self._clock.now(), part.index))
