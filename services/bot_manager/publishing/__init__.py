"""Publishing: due posts are claimed, sent to X once, and what X said is recorded.

owns     the claimer, the worker, the reaper and the reconciler; leases of secrets; holds after X closed a door; the health check "publishing"
never    sends a part again whose outcome is unknown; keeps a secret beyond its lease
called by the service's assembly once; by servicers through `Publisher`
"""

from services.bot_manager.publishing.assembly import Publisher, assemble

__all__ = ["Publisher", "assemble"]
