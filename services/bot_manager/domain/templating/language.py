"""From source to syntax tree."""

from typing import Final

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.bot_manager.domain.templating.filters import FILTERS, TESTS
from services.bot_manager.domain.templating.values import MAX_TEXT, SOURCE_A_STEP, Budget, TemplateError

_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(
    autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True
)
_KNOWN: Final = (
    nodes.Template,
    *(nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter, nodes.Test),
    *(nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
    nodes.Concat,
)
TOO_DEEP: Final = "it is nested too deeply"


def parse(source: str, budget: Budget) -> nodes.Template:
    """The tree, in which every node is one that can be evaluated. Raises TemplateError."""
    if len(source) > MAX_TEXT:
        raise TemplateError(f"it is longer than {MAX_TEXT} code points")
    budget.pay(len(source) // SOURCE_A_STEP)
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise TemplateError(TOO_DEEP) from None
    except (ValueError, OverflowError):  # a number that Python would not read
        raise TemplateError("it holds a number that is too large") from None
    waiting: list[nodes.Node] = [tree]
    while waiting:
        node = waiting.pop()
        _check(node)
        waiting.extend(node.iter_child_nodes())
    return tree


def _check(node: nodes.Node) -> None:
    """Raises TemplateError for what templates of posts do not have."""
    if not isinstance(node, _KNOWN):
        raise TemplateError(f"line {node.lineno}: {type(node).__name__} is not available in posts")
    if isinstance(node, nodes.Filter) and (node.node is None or node.name not in FILTERS):
        raise TemplateError(f"line {node.lineno}: there is no filter {node.name!r}")
    if isinstance(node, nodes.Test) and node.name not in TESTS:
        raise TemplateError(f"line {node.lineno}: there is no test {node.name!r}")
    if isinstance(node, nodes.For) and node.recursive:
        raise TemplateError(f"line {node.lineno}: a recursive loop is not available in posts")
    if isinstance(node, nodes.Call | nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
        raise TemplateError(f"line {node.lineno}: arguments with * are not available in posts")
