"""SettingsService."""

from collections.abc import AsyncIterator

from google.api import httpbody_pb2

from mesh.paging import PageTokens, page_size
from services.configuration.convert.changes import from_pending, pending_id, to_plan, to_state
from services.configuration.convert.settings import (
    from_change,
    from_differences,
    from_problems,
    from_setting,
    from_transaction,
    to_wish,
)
from services.configuration.convert.values import to_json
from services.configuration.convert.watch import from_told
from services.configuration.domain.change_book import ChangeBook
from services.configuration.domain.changes import Transaction, settings_only
from services.configuration.domain.filter import parse_filter
from services.configuration.domain.pending import PendingChange
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.transfer_book import TransferBook
from services.configuration.domain.values import Stored
from services.configuration.feed import Told
from services.configuration.servicers.caller import PolicySource, author, call_about, caller, sees_sensitive
from services.configuration.watching import Watching
from vivesphere.configuration.v1 import setting_change_pb2, settings_service_pb2_grpc
from vivesphere.configuration.v1 import settings_service_pb2 as pb

ALL_KEYS = "-"
YAML = "application/yaml"
"""RFC 9512."""


class SettingsServicer(settings_service_pb2_grpc.SettingsServiceServicer):
    """Converts, calls `SettingsBook` or `ChangeBook`, converts."""

    def __init__(
        self,
        book: SettingsBook,
        changes: ChangeBook,
        transfers: TransferBook,
        watching: Watching,
        policies: PolicySource,
        page_secret: bytes,
    ) -> None:
        self._book = book
        self._changes = changes
        self._transfers = transfers
        self._watching = watching
        self._policies = policies
        self._pages = PageTokens(page_secret, "configuration.settings")
        self._history_pages = PageTokens(page_secret, "configuration.setting_revisions")
        self._change_pages = PageTokens(page_secret, "configuration.setting_changes")

    async def ListSettings(self, request: pb.ListSettingsRequest, context: object) -> pb.ListSettingsResponse:
        """See the contract."""
        wanted, filters = parse_filter(request.filter), {"filter": request.filter}
        after, first_revision = self._pages.decode(request.page_token, filters) or ("", 0)
        size = page_size(request.page_size)
        settings, revision = await self._book.page(str(after), size + 1, wanted)
        shown = int(first_revision or 0) or revision
        more = len(settings) > size
        last = settings[size - 1].definition.key if more else ""
        reveal = sees_sensitive(self._policies)
        return pb.ListSettingsResponse(
            settings=[from_setting(setting, reveal=reveal) for setting in settings[:size]],
            next_page_token=self._pages.encode((last, shown), filters) if more else "",
            revision=shown,
        )

    async def GetSetting(self, request: pb.GetSettingRequest, context: object) -> pb.GetSettingResponse:
        """See the contract."""
        call_about(f"settings/{request.key}")
        setting = await self._book.get(request.key)
        return pb.GetSettingResponse(setting=from_setting(setting, reveal=sees_sensitive(self._policies)))

    async def UpdateSetting(
        self, request: pb.UpdateSettingRequest, context: object
    ) -> pb.UpdateSettingResponse:
        """See the contract."""
        wish = Wish(request.key, Stored(to_json(request.value, "value")), request.etag)
        who = author(request.comment, f"settings/{request.key}")
        setting = await self._book.change(wish, who, to_plan(request))
        return pb.UpdateSettingResponse(setting=from_setting(setting, reveal=True))

    async def DeleteSetting(
        self, request: pb.DeleteSettingRequest, context: object
    ) -> pb.DeleteSettingResponse:
        """See the contract."""
        wish = Wish(request.key, None, request.etag)
        setting = await self._book.change(wish, author(request.comment, f"settings/{request.key}"))
        return pb.DeleteSettingResponse(pending_change_id=pending_id([(wish, setting)]))

    async def BatchUpdateSettings(
        self, request: pb.BatchUpdateSettingsRequest, context: object
    ) -> pb.BatchUpdateSettingsResponse:
        """See the contract."""
        wishes = [to_wish(update, f"updates[{index}]") for index, update in enumerate(request.updates)]
        who = author(request.comment, "settings")
        settings, revision = await self._book.change_all(wishes, who, to_plan(request))
        return pb.BatchUpdateSettingsResponse(
            settings=[from_setting(setting, reveal=True) for setting in settings],
            revision=revision,
            pending_change_id=pending_id(zip(wishes, settings, strict=True)),
        )

    async def ListSettingRevisions(
        self, request: pb.ListSettingRevisionsRequest, context: object
    ) -> pb.ListSettingRevisionsResponse:
        """See the contract."""
        filters = {"key": request.key}
        position = self._history_pages.decode(request.page_token, filters)
        before = (int(position[0] or 0), str(position[1])) if position else None
        size = page_size(request.page_size)
        key = "" if request.key == ALL_KEYS else request.key
        entries, settings = await self._book.history(key, before, size + 1)
        more, reveal = len(entries) > size, sees_sensitive(self._policies)
        hidden = {key for key, setting in settings.items() if setting.definition.sensitive and not reveal}
        last = (entries[size - 1][0].revision, entries[size - 1][1].key) if more else (0, "")
        return pb.ListSettingRevisionsResponse(
            revisions=[
                from_change(transaction, change, reveal=change.key not in hidden)
                for transaction, change in entries[:size]
            ],
            next_page_token=self._history_pages.encode(last, filters) if more else "",
        )

    async def RollbackSetting(
        self, request: pb.RollbackSettingRequest, context: object
    ) -> pb.RollbackSettingResponse:
        """See the contract."""
        who = author(request.comment, f"settings/{request.key}")
        setting = await self._book.rollback(request.key, request.revision, request.etag, who)
        return pb.RollbackSettingResponse(setting=from_setting(setting, reveal=True))

    async def DiffSettings(self, request: pb.DiffSettingsRequest, context: object) -> pb.DiffSettingsResponse:
        """See the contract."""
        found = await self._transfers.compare(request.from_revision, request.to_revision)
        hidden = frozenset[str]() if sees_sensitive(self._policies) else found.hidden
        return pb.DiffSettingsResponse(
            diffs=from_differences(found.differences, hidden), to_revision=found.to_revision
        )

    async def ExportSettings(
        self, request: pb.ExportSettingsRequest, context: object
    ) -> pb.ExportSettingsResponse:
        """See the contract."""
        text = await self._transfers.export(include_defaults=request.include_defaults)
        return pb.ExportSettingsResponse(yaml=httpbody_pb2.HttpBody(content_type=YAML, data=text.encode()))

    async def ImportSettings(
        self, request: pb.ImportSettingsRequest, context: object
    ) -> pb.ImportSettingsResponse:
        """See the contract."""
        who = author(request.comment, "settings")
        if request.dry_run:
            done = await self._transfers.check(request.yaml, reset_others=request.reset_others)
        else:
            done = await self._transfers.bring(request.yaml, reset_others=request.reset_others, author=who)
        return pb.ImportSettingsResponse(
            diffs=from_differences(done.differences),
            revision=done.revision,
            problems=from_problems(done.problems),
            pending_change_id=done.pending_change_id,
        )

    async def WatchSettings(
        self, request: pb.WatchSettingsRequest, context: object
    ) -> AsyncIterator[pb.WatchSettingsResponse]:
        """See the contract."""
        async for event in self._watching.people(request.from_revision):
            if isinstance(event, Told):
                yield pb.WatchSettingsResponse(bookmark=from_told(event))
            elif isinstance(event, Transaction):
                transaction = from_transaction(event, await self._hidden(event))
                if transaction is not None:
                    yield pb.WatchSettingsResponse(transaction=transaction)

    async def ListSettingChanges(
        self, request: pb.ListSettingChangesRequest, context: object
    ) -> pb.ListSettingChangesResponse:
        """See the contract."""
        filters = {"state": request.state}
        position = self._change_pages.decode(request.page_token, filters)
        size = page_size(request.page_size)
        changes = await self._changes.page(
            str(position[0]) if position else "", size + 1, to_state(request.state)
        )
        more = len(changes) > size
        return pb.ListSettingChangesResponse(
            setting_changes=await self._shown(*changes[:size]),
            next_page_token=self._change_pages.encode((changes[size - 1].id,), filters) if more else "",
        )

    async def GetSettingChange(
        self, request: pb.GetSettingChangeRequest, context: object
    ) -> pb.GetSettingChangeResponse:
        """See the contract."""
        call_about(f"settingChanges/{request.change_id}")
        (shown,) = await self._shown(await self._changes.get(request.change_id))
        return pb.GetSettingChangeResponse(setting_change=shown)

    async def ApproveSettingChange(
        self, request: pb.ApproveSettingChangeRequest, context: object
    ) -> pb.ApproveSettingChangeResponse:
        """See the contract. An API key counts as the user it belongs to."""
        who = caller(f"settingChanges/{request.change_id}")
        change = await self._changes.approve(request.change_id, who.user_id)
        return pb.ApproveSettingChangeResponse(setting_change=from_pending(change))

    async def RejectSettingChange(
        self, request: pb.RejectSettingChangeRequest, context: object
    ) -> pb.RejectSettingChangeResponse:
        """See the contract."""
        who = caller(f"settingChanges/{request.change_id}")
        change = await self._changes.reject(request.change_id, who.user_id, request.reason)
        return pb.RejectSettingChangeResponse(setting_change=from_pending(change))

    async def _shown(self, *changes: PendingChange) -> list[setting_change_pb2.SettingChange]:
        """The changes as this caller may see them."""
        keys = {key for change in changes for key in change.keys}
        reveal = not keys or sees_sensitive(self._policies)
        hidden: frozenset[str] = frozenset() if reveal else await self._book.sensitive_among(keys)
        return [from_pending(change, hidden) for change in changes]

    async def _hidden(self, transaction: Transaction) -> frozenset[str]:
        """Keys in the transaction whose values this caller may not see, by the definitions of now."""
        keys = {change.key for change in settings_only(transaction)}
        if not keys or sees_sensitive(self._policies):
            return frozenset()
        return await self._book.sensitive_among(keys)
