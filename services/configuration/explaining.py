"""Why a user may or may not do something: the decision of `mesh.authorization`, told instead of enforced.

Rules come from the contracts of all services, roles and bindings from one state of the history, the roles of the user's account from
authentication, which is asked as the caller. What an access stage checks beyond grants (a session, a second factor) is said, not decided:
it depends on the call.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mesh.authorization import Binding, Grant, Policy, deciding
from mesh.contract import ANY_SERVICE, MethodPolicy, Who
from mesh.errors import InvalidArgument, PermissionDenied
from services.configuration.domain.role import Catalogue
from services.configuration.store.ports import Store

AccountRoles = Callable[[str], Awaitable[tuple[str, ...]]]
"""Roles of a user's account. Raises NotFound (USER_NOT_FOUND), PermissionDenied, Unavailable."""


@dataclass(frozen=True, slots=True)
class Question:
    """May `subject` call `method`, or use `permission`, on one bot or on the whole fleet? One of both targets is set."""

    subject: str
    method: str = ""
    permission: str = ""
    bot_id: str = ""
    roles: tuple[str, ...] = ()
    """Roles that the account is taken to have; empty: those that it has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision, and what it was made of."""

    allowed: bool
    explanation: str
    permission: str
    grant: Grant | None
    considered: tuple[Grant, ...]
    revision: int


class Explainer:
    """Answers questions. `methods` are the access rules by full name."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        methods: Mapping[str, MethodPolicy],
        account_roles: AccountRoles,
    ) -> None:
        self._store = store
        self._permissions = {permission.name for permission in catalogue.permissions}
        self._methods = methods
        self._account_roles = account_roles

    async def explain(self, question: Question) -> Answer:
        """Raises InvalidArgument for a target that no contract knows, and what AccountRoles does."""
        rule = self._rule(question)
        permission = question.permission if rule is None else rule.permission
        account = question.roles or await self._roles_of(question.subject)
        policy = await self._policy(question.subject)
        considered = tuple(policy.grants(question.subject, account, permission, question.bot_id))
        grant = deciding(iter(considered)) if permission else None
        allowed = grant is not None or (rule is not None and rule.who in (Who.PUBLIC, Who.AUTHENTICATED))
        text = (
            _by_permission(question, permission, considered, grant)
            if permission
            else _by_rule(question, rule)
        )
        return Answer(allowed, text + _also(rule), permission, grant, considered, policy.revision)

    def _rule(self, question: Question) -> MethodPolicy | None:
        if question.method:
            rule = self._methods.get(question.method)
            if rule is None:
                raise InvalidArgument(
                    "INVALID_FIELD", f"no contract has a method {question.method}", field="method"
                )
            return rule
        if question.permission not in self._permissions:
            raise InvalidArgument(
                "INVALID_FIELD", f"no method requires {question.permission}", field="permission"
            )
        return None

    async def _roles_of(self, subject: str) -> tuple[str, ...]:
        try:
            return await self._account_roles(subject)
        except PermissionDenied as error:
            raise PermissionDenied(
                error.reason,
                f"the roles of the user's account are read from authentication as you, and it refused: {error.message};"
                " name `roles` to ask without",
                metadata=error.metadata,
            ) from None

    async def _policy(self, subject: str) -> Policy:
        async with self._store.read() as reader:
            revision = (await reader.log.head()).revision
            roles = {role.id: frozenset(role.permissions) for role in await reader.roles.all()}
            bound = await reader.roles.bindings(subject=subject)
        # Oldest first, as the services hold them.
        bindings = tuple(Binding(b.subject, b.role_id, b.bot_id, b.id) for b in reversed(bound))
        return Policy(revision, roles, {subject: bindings})


def _by_permission(
    question: Question, permission: str, considered: tuple[Grant, ...], grant: Grant | None
) -> str:
    what = f"call {question.method}, which needs {permission}," if question.method else f"use {permission}"
    where = f"on bot {question.bot_id}" if question.bot_id else "for the whole fleet"
    if grant is not None:
        entry = "" if grant.entry == permission else f" by its entry {grant.entry}"
        return f"The user may {what} {where}: {_held(grant)} grants it{entry}."
    return f"The user may not {what} {where}: {_why_not(considered, permission)}."


def _why_not(considered: tuple[Grant, ...], permission: str) -> str:
    if not considered:
        return "neither the account nor a binding gives a role"
    elsewhere = next((grant for grant in considered if grant.entry and grant.binding), None)
    if elsewhere is not None and elsewhere.binding is not None:
        return f"{_held(elsewhere)} grants {permission} for bot {elsewhere.binding.bot_id} only"
    names = ", ".join(dict.fromkeys(grant.role_id for grant in considered))
    return f"none of the roles held grants {permission} ({names})"


def _held(grant: Grant) -> str:
    if grant.binding is None:
        return f"the role {grant.role_id} of the account"
    return f"the role {grant.role_id} by binding {grant.binding.id}"


def _by_rule(question: Question, rule: MethodPolicy | None) -> str:
    if rule is None or rule.who is Who.PUBLIC:
        return f"Anyone may call {question.method}, signed in or not; it needs no permission."
    if rule.who is Who.AUTHENTICATED:
        return f"Whoever is signed in may call {question.method}; it needs no permission and answers the caller's own things only."
    if ANY_SERVICE in rule.services:
        return f"No user may call {question.method}: it is for services of the mesh, known by their certificates."
    names = ", ".join(sorted(rule.services))
    return f"No user may call {question.method}: it is for services known by their certificates ({names})."


def _also(rule: MethodPolicy | None) -> str:
    """What the access stage asks besides."""
    if rule is None:
        return ""
    notes = (
        (rule.session, " An API key is not enough: it takes a session."),
        (rule.step_up, " A second factor must have been proved recently."),
        (rule.high_risk, " It is refused while revoked sessions are not known freshly."),
        (rule.one_time_password, " It is open while a one-time password has to be changed, too."),
    )
    return "".join(text for applies, text in notes if applies)
