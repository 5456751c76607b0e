"""Explanations: the same decision as the services make, told with everything that it was made of."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.authorization import Binding, Policy, deciding
from mesh.context import Principal
from mesh.errors import InvalidArgument, NotFound, PermissionDenied
from mesh.ids import new_id
from services.configuration.catalogue import read_catalogue, read_methods
from services.configuration.domain.changes import Author
from services.configuration.domain.role import Caller, Role
from services.configuration.domain.role_book import RoleBook
from services.configuration.explaining import Explainer, Question
from services.configuration.store.postgres import PostgresStore

ROOT = Caller(new_id(), ("admin",))
USER, BOT, OTHER_BOT = new_id(), new_id(), new_id()
CREATE_POST = "vivesphere.bot_manager.v1.PostService/CreatePost"
READ_BOT = "vivesphere.bot_manager.v1.BotService/GetBot"


@pytest.fixture
async def roles(store: PostgresStore) -> RoleBook:
    """Built-in roles and one of our own."""
    book = RoleBook(store, read_catalogue(), lambda revision: None, new_id)
    await book.ensure_built_in("1.0.0", Author("service:configuration"))
    await book.create(Role("poster", ("posts.*",)), ROOT)
    return book


def _explainer(store: PostgresStore, account: Callable[[str], Awaitable[tuple[str, ...]]]) -> Explainer:
    return Explainer(store, read_catalogue(), read_methods(), account)


def _with_roles(*names: str) -> Callable[[str], Awaitable[tuple[str, ...]]]:
    async def account(subject: str) -> tuple[str, ...]:
        assert subject == USER
        return names

    return account


async def test_the_deciding_grant_is_named(store: PostgresStore, roles: RoleBook) -> None:
    """Role, binding, bot and entry; and what was looked at before it."""
    other = await roles.bind(USER, "admin", OTHER_BOT, ROOT)
    ours = await roles.bind(USER, "poster", BOT, ROOT)
    explainer = _explainer(store, _with_roles("viewer"))
    answer = await explainer.explain(Question(USER, method=CREATE_POST, bot_id=BOT))
    assert answer.allowed
    assert answer.grant is not None
    assert answer.grant.binding is not None
    assert (answer.grant.role_id, answer.grant.binding.id, answer.grant.entry) == (
        "poster",
        ours.id,
        "posts.*",
    )
    assert [
        (grant.role_id, grant.binding.id if grant.binding else "", grant.entry) for grant in answer.considered
    ] == [
        ("viewer", "", ""),
        ("admin", other.id, "*"),
        ("poster", ours.id, "posts.*"),
    ]
    assert (answer.permission, answer.revision) == ("posts.write", (await store.head()).revision)
    assert answer.explanation.startswith(
        f"The user may call {CREATE_POST}, which needs posts.write, on bot {BOT}: the role poster by binding {ours.id} grants"
        " it by its entry posts.*."
    )


async def test_why_not_is_said(store: PostgresStore, roles: RoleBook) -> None:
    """Nothing held, nothing that covers, or the right thing for another bot only."""
    nothing = await _explainer(store, _with_roles()).explain(Question(USER, permission="posts.write"))
    assert (nothing.allowed, nothing.grant, nothing.considered) == (False, None, ())
    assert "neither the account nor a binding" in nothing.explanation
    viewer = await _explainer(store, _with_roles("viewer", "gone")).explain(
        Question(USER, permission="posts.write")
    )
    assert "none of the roles held grants posts.write (viewer, gone)" in viewer.explanation
    await roles.bind(USER, "poster", BOT, ROOT)
    for bot in (OTHER_BOT, ""):
        elsewhere = await _explainer(store, _with_roles()).explain(
            Question(USER, permission="posts.write", bot_id=bot)
        )
        assert not elsewhere.allowed
        assert f"grants posts.write for bot {BOT} only" in elsewhere.explanation


@pytest.mark.parametrize(
    ("method", "allowed", "words"),
    [
        ("vivesphere.authentication.v1.AuthenticationService/Login", True, "Anyone may call"),
        ("vivesphere.authentication.v1.AuthenticationService/ChangePassword", True, "Whoever is signed in"),
        ("vivesphere.authentication.v1.AuthenticationService/ChangePassword", True, "one-time password"),
        ("vivesphere.authentication.v1.AuthenticationService/ChangePassword", True, "takes a session"),
        ("vivesphere.configuration.v1.WatchService/Watch", False, "for services of the mesh"),
        ("vivesphere.configuration.v1.SettingsService/UpdateSetting", False, "not known freshly"),
    ],
)
async def test_rules_without_a_permission_are_explained_too(
    store: PostgresStore, roles: RoleBook, method: str, allowed: bool, words: str
) -> None:
    """And what is asked beyond a grant is said."""
    answer = await _explainer(store, _with_roles()).explain(Question(USER, method=method))
    assert (answer.allowed, answer.grant) == (allowed, None)
    assert words in answer.explanation


async def test_every_method_can_be_explained(store: PostgresStore, roles: RoleBook) -> None:
    """Whatever kind of rule its contract has."""
    explainer = _explainer(store, _with_roles("admin"))
    for method, rule in read_methods().items():
        answer = await explainer.explain(Question(USER, method=method))
        assert answer.explanation
        assert answer.permission == rule.permission
        assert answer.allowed == (not rule.services)


async def test_unknown_targets_name_their_field(store: PostgresStore, roles: RoleBook) -> None:
    """A misspelt method must not look like a denied one."""
    explainer = _explainer(store, _with_roles())
    for question, field in (
        (Question(USER, method="vivesphere.bot_manager.v1.PostService/Nothing"), "method"),
        (Question(USER, permission="posts.nothing"), "permission"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await explainer.explain(question)
        assert refused.value.violations[0].field == field


async def test_what_authentication_says_is_passed_on(store: PostgresStore, roles: RoleBook) -> None:
    """An unknown user is not found; a caller who may not read users learns how to ask without."""

    async def unknown(subject: str) -> tuple[str, ...]:
        raise NotFound("USER_NOT_FOUND", "no such user")

    async def refused(subject: str) -> tuple[str, ...]:
        raise PermissionDenied(
            "PERMISSION_MISSING",
            "this needs the permission users.read",
            metadata={"permission": "users.read"},
        )

    with pytest.raises(NotFound):
        await _explainer(store, unknown).explain(Question(USER, permission="posts.read"))
    with pytest.raises(PermissionDenied) as denied:
        await _explainer(store, refused).explain(Question(USER, permission="posts.read"))
    assert "users.read" in denied.value.message
    assert "name `roles`" in denied.value.message
    answer = await _explainer(store, refused).explain(
        Question(USER, permission="posts.read", roles=("viewer",))
    )
    assert answer.allowed


PERMISSIONS = st.frozensets(st.sampled_from(["a.x", "a.y", "a.*", "b.x", "*"]), max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    roles=st.dictionaries(st.sampled_from("pqr"), PERMISSIONS),
    account=st.lists(st.sampled_from("pqrs"), max_size=2, unique=True).map(tuple),
    bindings=st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from(["", "1", "2"])), max_size=4),
    permission=st.sampled_from(["a.x", "a.y", "b.x", "b.y"]),
    bot=st.sampled_from(["", "1", "2"]),
)
def test_what_is_explained_is_what_is_decided(
    roles: dict[str, frozenset[str]],
    account: tuple[str, ...],
    bindings: list[tuple[str, str]],
    permission: str,
    bot: str,
) -> None:
    """One piece of code: a grant decides if and only if the call passes, and it is one that a person would accept."""
    policy = Policy(1, roles, {USER: tuple(Binding(USER, role, bot_id) for role, bot_id in bindings)})
    principal = Principal(USER, "s", "t", account, datetime(2030, 1, 1, tzinfo=UTC))
    considered = list(policy.grants(USER, account, permission, bot))
    grant = deciding(iter(considered))
    held = [*account, *(role for role, bot_id in bindings if bot_id in ("", bot))]
    wanted = {permission, f"{permission[0]}.*", "*"}
    expected = any(wanted & roles.get(role, frozenset()) for role in held)
    assert policy.allows(principal, permission, bot) == (grant is not None) == expected
    assert len(considered) == len(account) + len(bindings)
    if grant is not None:
        assert grant.entry in roles[grant.role_id] & wanted
