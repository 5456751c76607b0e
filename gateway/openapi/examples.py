"""Examples of requests and answers, made from types, rules and comments: the same every time.

A request holds what is required, then a few optional fields that keep all rules, CEL ones included; a message whose rules need
one of several fields gets the first that helps. A request for which no valid example is found has none. An answer holds every
field, lists one element, and stops after a few levels.
"""

from typing import Any, Final

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage, ScalarType

from gateway.openapi import presence, values
from gateway.openapi.contract import OUTPUT_ONLY, Contract
from gateway.openapi.schemas import reachable
from gateway.openapi.validation import Validator
from gateway.transcoding import fields

Tree = dict[str, Any]

MAX_DEPTH: Final = 5
ANSWER_DEPTH: Final = 3
EXTRAS: Final = 3  # optional fields of a request
INNER_EXTRAS: Final = 2  # and of a message within it
EVERYTHING: Final = 100
_NEVER_EXTRA: Final = ("etag", "_token", "_mask", "request_id")


class Examples:
    """Makes examples for one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._validator = Validator(contract.schema)
        self._answers: dict[str, Tree] = {}
        self._inner_extras = INNER_EXTRAS
        self._with_other_rules: dict[DescMessage, bool] = {}

    def request(
        self,
        desc: DescMessage,
        needed: frozenset[str] = frozenset(),
        *,
        extras: int = EXTRAS,
        partial: bool = False,
    ) -> Tree | None:
        """A valid request, keyed by JSON names; `needed` are fields that it has to hold. None where none was found."""
        for self._inner_extras in (INNER_EXTRAS, EVERYTHING):
            tree = self._message(desc, needed, extras, partial, 0, ())
            if tree is not None and not self._violations(desc, tree):
                return tree
        return None

    def answer(self, desc: DescMessage) -> Tree:
        """An answer of this type."""
        if desc.type_name not in self._answers:
            self._answers[desc.type_name] = self._answer(desc, 0, ())
        return self._answers[desc.type_name]

    def single(self, field: DescField, *, request: bool) -> Any:
        """A value of a field; None where there is none."""
        return self._field(field, 0, (), request=request)

    # requests

    def _message(
        self,
        desc: DescMessage,
        needed: frozenset[str],
        extras: int,
        partial: bool,
        depth: int,
        above: tuple[DescMessage, ...],
    ) -> Tree | None:
        if depth > MAX_DEPTH or desc in above:
            return None
        tree: Tree = {}
        optional: list[DescField] = []
        for field in desc.fields:
            must = presence.is_required(self._contract, field, by_comment=not partial)
            if not (must or field.name in needed):
                optional.append(field)
                continue
            made = self._field(field, depth, (*above, desc), request=True)
            if made is None:
                return None
            tree[field.json_name] = made
        optional.sort(key=_rank)
        tree = self._mended(desc, tree, optional, depth, above)
        return self._with_extras(desc, tree, optional, extras, depth, above)

    def _mended(
        self,
        desc: DescMessage,
        tree: Tree,
        optional: list[DescField],
        depth: int,
        above: tuple[DescMessage, ...],
    ) -> Tree:
        """The tree with each optional field that makes it break fewer rules than before."""
        broken = self._violations(desc, tree)
        for field in optional:
            if not broken:
                break
            made = self._field(field, depth, (*above, desc), request=True)
            if made is None:
                continue
            left = self._violations(desc, tree | {field.json_name: made})
            if left < broken:
                tree, broken = tree | {field.json_name: made}, left
        return tree

    def _with_extras(
        self,
        desc: DescMessage,
        tree: Tree,
        optional: list[DescField],
        extras: int,
        depth: int,
        above: tuple[DescMessage, ...],
    ) -> Tree:
        """The tree with the first optional fields that break no rule."""
        broken = self._violations(desc, tree)
        taken = {fields.oneof_of(field) for field in desc.fields if field.json_name in tree} - {None}
        for field in optional:
            oneof = fields.oneof_of(field)
            if extras <= 0:
                break
            if field.json_name in tree or oneof in taken or not self._may_show(field):
                continue
            made = self._field(field, depth, (*above, desc), request=True)
            if made is None or self._violations(desc, tree | {field.json_name: made}) > broken:
                continue
            tree = tree | {field.json_name: made}
            extras -= 1
            taken |= {oneof} if oneof is not None else set()
        return tree

    def _may_show(self, field: DescField) -> bool:
        """Whether a field tells a reader something when nothing demands it."""
        contract = self._contract
        return not (
            contract.behavior(field) == OUTPUT_ONLY
            or contract.cookie(field)
            or field.deprecated
            or not _is_simple(field)
            or field.name.endswith(_NEVER_EXTRA)
            or fields.element_of(field) is ScalarType.BYTES
            or self._is_given(field)
        )

    def _is_given(self, field: DescField) -> bool:
        """Whether the server or the path gives the field; where a rule is hard to keep, everything is tried."""
        first = self._contract.field_comment(field).lstrip()
        return first.startswith("Output only") or (
            first.startswith("Immutable") and self._inner_extras < EVERYTHING
        )

    def _violations(self, desc: DescMessage, tree: Tree) -> int:
        """How many rules a tree breaks; values keep the rules of their own fields, so only other rules are asked about."""
        if desc not in self._with_other_rules:
            self._with_other_rules[desc] = any(self._has_other_rules(one) for one in reachable([desc]))
        return self._validator.violations(desc, tree) if self._with_other_rules[desc] else 0

    def _has_other_rules(self, desc: DescMessage) -> bool:
        if any(self._contract.oneof_required(one) for one in desc.oneofs):
            return True
        if any(self._contract.cookie(field) for field in desc.fields):
            return True
        rules = [self._contract.rules(field) for field in desc.fields] + [self._contract.message_rules(desc)]
        return any(
            rule is not None and (rule.cel or rule.cel_expression or getattr(rule, "oneof", None))
            for rule in rules
        )

    # both

    def _field(self, field: DescField, depth: int, above: tuple[DescMessage, ...], *, request: bool) -> Any:
        rules = self._contract.rules(field)
        comment = self._contract.field_comment(field)
        if isinstance(field.value, DescFieldValueMap):
            return self._map(field, field.value, rules, comment, depth, above, request=request)
        if not isinstance(field.value, DescFieldValueList):
            return self._single(field, rules, comment, 0, depth, above, request=request)
        inner = rules.type.value if rules is not None and rules.type is not None else None
        of_items = inner.items if inner is not None and inner.has_field("items") else None
        name_of_one = field.name.removesuffix("s")
        count = max(1, inner.min_items if inner is not None else 0)
        made = [
            self._single(field, of_items, comment, number, depth, above, request=request, name=name_of_one)
            for number in range(count)
        ]
        return None if any(one is None for one in made) else made

    def _single(
        self,
        field: DescField,
        rules: Any,
        comment: str,
        number: int,
        depth: int,
        above: tuple[DescMessage, ...],
        *,
        request: bool,
        name: str = "",
    ) -> Any:
        element = fields.element_of(field)
        if isinstance(element, DescMessage) and not values.is_plain(element):
            if fields.has_special_json(element):
                return None
            if request:
                return self._message(element, frozenset(), self._inner_extras, False, depth + 1, above)
            return (
                self._answer(element, depth + 1, above)
                if depth < MAX_DEPTH and element not in above
                else None
            )
        past = not request or self._contract.behavior(field) == OUTPUT_ONLY
        return values.value(element, rules, name or field.name, comment, number, past=past)

    def _map(
        self,
        field: DescField,
        kind: DescFieldValueMap,
        rules: Any,
        comment: str,
        depth: int,
        above: tuple[DescMessage, ...],
        *,
        request: bool,
    ) -> Any:
        inner = rules.type.value if rules is not None and rules.type is not None else None
        of_keys = inner.keys if inner is not None and inner.has_field("keys") else None
        of_values = inner.values if inner is not None and inner.has_field("values") else None
        made: Tree = {}
        for number in range(max(1, inner.min_pairs if inner is not None else 0)):
            key = values.value(kind.key, of_keys, "key", comment, number, past=False)
            one = self._single(field, of_values, "", number, depth, above, request=request, name="value")
            if key is None or one is None:
                return None
            made[str(key).lower() if isinstance(key, bool) else str(key)] = one
        return made

    # answers

    def _answer(self, desc: DescMessage, depth: int, above: tuple[DescMessage, ...]) -> Tree:
        tree: Tree = {}
        taken: set[str] = set()
        for field in desc.fields:
            oneof = fields.oneof_of(field)
            if field.deprecated or (oneof is not None and oneof in taken):
                continue
            made = self._field(field, depth, (*above, desc), request=False)
            if made is not None and made not in ({}, [{}]):
                tree[field.json_name] = made
                taken |= {oneof} if oneof is not None else set()
        return tree


def _is_simple(field: DescField) -> bool:
    if isinstance(field.value, DescFieldValueMap):
        return False
    return values.is_plain(fields.element_of(field))


def _rank(field: DescField) -> int:
    """Fields that tell most come first; references, lists and messages come later."""
    return (
        int(field.name.endswith(("_id", "_ids")))
        + 2 * int(isinstance(field.value, DescFieldValueList))
        + 4 * int(not _is_simple(field))
    )
