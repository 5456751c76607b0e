"""From syntax tree to text. Every node that is visited is a step, and so is every piece of text that a value is long."""

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from jinja2 import TemplateRuntimeError, nodes

from services.bot_manager.domain.templating.filters import FIELDS, FILTERS, FUNCTIONS, METHODS, TESTS
from services.bot_manager.domain.templating.language import TOO_DEEP
from services.bot_manager.domain.templating.values import (
    MAX_TEXT,
    Budget,
    TemplateError,
    Undefined,
    Value,
    checked,
    cost,
    shown,
)

_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
_WRONG_VALUE: Final = (
    *(TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError),
    TemplateRuntimeError,
)
"""What filters and operators raise when they are given something else than they are made for."""
_DEFAULTS: Final = frozenset({"d", "default"})
_OF_DEFINITION: Final = frozenset({"defined", "undefined"})

Scope = dict[str, Value]


def render(
    tree: nodes.Template, names: Mapping[str, Value], functions: Mapping[str, Any], budget: Budget
) -> str:
    """The text, at most MAX_TEXT code points. `functions` may be called by name. Raises TemplateError."""
    try:
        return _Evaluation(names, functions, budget).text_of(tree)
    except RecursionError:
        raise TemplateError(TOO_DEEP) from None


class _Evaluation:
    """One rendering of one template."""

    def __init__(self, names: Mapping[str, Value], functions: Mapping[str, Any], budget: Budget) -> None:
        self._scopes: list[Scope] = [dict(names), {}]
        self._functions = {**FUNCTIONS, **functions}
        self._pay = budget.pay
        self._written: list[str] = []
        self._length = 0

    def text_of(self, tree: nodes.Template) -> str:
        self._run(tree.body)
        return "".join(self._written)

    def _write(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_TEXT:
            raise TemplateError(f"it renders to more than {MAX_TEXT} code points")
        self._written.append(text)

    # Statements

    def _run(self, body: list[nodes.Node]) -> None:
        for node in body:
            self._pay(1)
            try:
                getattr(self, f"_run_{type(node).__name__.lower()}")(node)
            except _WRONG_VALUE as error:
                told = "a value is not of the kind, or not in the range, that this needs"
                raise TemplateError(f"line {node.lineno}: {told} ({type(error).__name__})") from None

    def _run_output(self, node: nodes.Output) -> None:
        for child in node.nodes:
            self._write(child.data if isinstance(child, nodes.TemplateData) else shown(self._value(child)))

    def _run_if(self, node: nodes.If) -> None:
        for branch in (node, *node.elif_):
            if self._value(branch.test):
                self._run(branch.body)
                return
        self._run(node.else_)

    def _run_assign(self, node: nodes.Assign) -> None:
        self._bind(node.target, self._value(node.node), self._scopes[-1])

    def _run_for(self, node: nodes.For) -> None:
        turns = self._turns(node)
        for index, scope in enumerate(turns):
            scope["loop"] = _loop(index, len(turns))
            self._scopes.append(scope)
            self._run(node.body)
            self._scopes.pop()
        if not turns:
            self._run(node.else_)

    def _turns(self, node: nodes.For) -> list[Scope]:
        """The variables of each turn that the loop's own condition lets through."""
        turns = []
        for item in FILTERS["list"](self._value(node.iter)):
            self._pay(1)
            scope: Scope = {}
            self._bind(node.target, item, scope)
            self._scopes.append(scope)
            if node.test is None or self._value(node.test):
                turns.append(scope)
            self._scopes.pop()
        return turns

    def _bind(self, target: nodes.Node, value: Value, scope: Scope) -> None:
        if isinstance(target, nodes.Name):
            scope[target.name] = value
            return
        if not isinstance(target, nodes.Tuple) or not isinstance(value, tuple):
            raise TemplateError(f"line {target.lineno}: nothing can be assigned to this")
        for name, item in zip(target.items, value, strict=True):
            self._bind(name, item, scope)

    # Expressions

    def _value(self, node: nodes.Node) -> Value:
        """What the expression is. Raises TemplateError if it is undefined."""
        value = self._perhaps(node)
        if isinstance(value, Undefined):
            raise TemplateError(f"{value.name!r} has no value", value.name)
        return value

    def _perhaps(self, node: nodes.Node) -> Value:
        """What the expression is, or Undefined."""
        self._pay(1)
        value = checked(getattr(self, f"_{type(node).__name__.lower()}")(node))
        self._pay(cost(value))
        return value

    def _const(self, node: nodes.Const) -> Value:
        return node.value

    def _name(self, node: nodes.Name) -> Value:
        for scope in reversed(self._scopes):
            if node.name in scope:
                return scope[node.name]
        return Undefined(node.name)

    def _list(self, node: nodes.List | nodes.Tuple) -> Value:
        return tuple(self._value(item) for item in node.items)

    _tuple = _list

    def _dict(self, node: nodes.Dict) -> Value:
        return {
            shown(self._value(pair.key)): self._scalar(pair.value)
            for pair in node.items
            if isinstance(pair, nodes.Pair)
        }

    def _scalar(self, node: nodes.Expr) -> Value:
        value = self._value(node)
        shown(value)
        return value

    def _getattr(self, node: nodes.Getattr) -> Value:
        return _member(self._value(node.node), node.attr, node)

    def _getitem(self, node: nodes.Getitem) -> Value:
        value = self._value(node.node)
        if isinstance(node.arg, nodes.Slice):
            if not isinstance(value, str | tuple):
                raise TemplateError(f"line {node.lineno}: only a text or a list can be cut")
            bounds = (node.arg.start, node.arg.stop, node.arg.step)
            return value[slice(*(None if one is None else self._value(one) for one in bounds))]
        key = self._value(node.arg)
        if isinstance(value, str | tuple) and isinstance(key, int):
            return value[key] if -len(value) <= key < len(value) else Undefined(_path(node))
        return _member(value, key, node)

    def _call(self, node: nodes.Call) -> Value:
        arguments, named = self._arguments(node)
        if isinstance(node.node, nodes.Name) and node.node.name in self._functions:
            return self._functions[node.node.name](*arguments, **named)
        if isinstance(node.node, nodes.Getattr):
            owner = self._value(node.node.node)
            for kind, methods in METHODS.items():
                if isinstance(owner, kind) and node.node.attr in methods:
                    return methods[node.node.attr](owner, *arguments, **named)
        raise TemplateError(f"line {node.lineno}: there is no function {_path(node.node)!r}")

    def _arguments(
        self, node: nodes.Call | nodes.Filter | nodes.Test
    ) -> tuple[list[Value], dict[str, Value]]:
        return (
            [self._value(one) for one in node.args],
            {str(one.key): self._value(one.value) for one in node.kwargs},
        )

    def _filter(self, node: nodes.Filter) -> Value:
        assert node.node is not None  # noqa: S101 - `language.parse` sees to it
        arguments, named = self._arguments(node)
        if node.name in _DEFAULTS:
            return _or_default(self._perhaps(node.node), *arguments, **named)
        return FILTERS[node.name](self._value(node.node), *arguments, **named)

    def _test(self, node: nodes.Test) -> Value:
        arguments, named = self._arguments(node)
        look = self._perhaps if node.name in _OF_DEFINITION else self._value
        return TESTS[node.name](look(node.node), *arguments, **named)

    def _condexpr(self, node: nodes.CondExpr) -> Value:
        if self._value(node.test):
            return self._perhaps(node.expr1)
        return Undefined("if without else") if node.expr2 is None else self._perhaps(node.expr2)

    def _and(self, node: nodes.And) -> Value:
        return self._value(node.left) and self._value(node.right)

    def _or(self, node: nodes.Or) -> Value:
        return self._value(node.left) or self._value(node.right)

    def _not(self, node: nodes.Not) -> Value:
        return not self._value(node.node)

    def _neg(self, node: nodes.Neg) -> Value:
        return -self._value(node.node)

    def _pos(self, node: nodes.Pos) -> Value:
        return +self._value(node.node)

    def _compare(self, node: nodes.Compare) -> Value:
        left = self._value(node.expr)
        for operand in node.ops:
            right = self._value(operand.expr)
            if not _COMPARISONS[operand.op](left, right):
                return False
            left = right
        return True

    def _arithmetic(self, node: nodes.BinExpr) -> Value:
        left, right = self._value(node.left), self._value(node.right)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        texts = isinstance(node, nodes.Add) and type(left) is type(right) and isinstance(left, str | tuple)
        if not (numbers or texts):
            raise TemplateError(f"line {node.lineno}: {node.operator!r} is for numbers")
        return _ARITHMETIC[type(node).__name__.lower()](left, right)

    _add = _sub = _mul = _div = _floordiv = _mod = _arithmetic

    def _concat(self, node: nodes.Concat) -> Value:
        return FILTERS["join"](tuple(shown(self._value(one)) for one in node.nodes))


def _or_default(value: Value, default_value: Value = "", boolean: bool = False) -> Value:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _member(value: Value, name: Value, node: nodes.Getattr | nodes.Getitem) -> Value:
    """A value of a mapping, or a field of a time; never an attribute of a Python object."""
    if isinstance(value, Mapping) and isinstance(name, str) and name in value:
        return value[name]
    if isinstance(value, datetime) and name in FIELDS:
        return getattr(value, name)
    return Undefined(_path(node))


def _path(node: nodes.Node) -> str:
    """How the template writes it, as far as it is made of names."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_path(node.node)}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const(value=value)):
            return f"{_path(node.node)}[{value!r:.80}]"
        case _:
            return "…"


def _loop(index: int, length: int) -> Mapping[str, Value]:
    """Jinja2's `loop`."""
    return {
        "index": index + 1,
        "index0": index,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
        "revindex": length - index,
        "revindex0": length - index - 1,
    }
