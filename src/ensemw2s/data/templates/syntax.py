"""The part of Jinja that a prompt template may use, checked on its syntax tree before it is compiled."""

import math
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

TEMPLATE_CHARACTERS = 2**20
"""Largest number of characters of a template."""
TOKENS = 10_000
"""Largest number of names, numbers and signs within its braces."""
NESTING = 40
"""Largest nesting depth of blocks and expressions."""
LOOPS = 4
"""Largest nesting depth of loops."""
ITEMS = 10_000
"""Largest number of items of a filter's or method's argument, and of passes of a loop."""
NUMBER = 10**18
"""Largest absolute value of an integer."""
NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem),
    *(nodes.Slice, nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr, nodes.For, nodes.Assign, nodes.With),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub),
    *(nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict),
    *(nodes.Pair, nodes.Keyword, nodes.Call),
)
METHODS = (
    *("strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "split", "rsplit", "splitlines"),
    *("startswith", "endswith", "replace", "join", "items", "keys", "values", "get", "find", "count"),
    *("removeprefix", "removesuffix", "isdigit", "cycle"),
)
FILTER_NAMES = (
    *("abs", "batch", "capitalize", "count", "d", "default", "dictsort", "first", "float", "format", "groupby"),
    *("indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "only", "reject"),
    *("rejectattr", "replace", "reverse", "round", "select", "selectattr", "shared", "sort", "string", "sum", "title"),
    *("tojson", "trim", "truncate", "unique", "upper", "wordcount"),
)
PASSED, JOINED, WEIGHED = "each pass", "joined", "weighed"
"""Our own filters, whose names no template can contain."""


def parse(environment: Environment, text: str) -> tuple[nodes.Template, int]:
    """Parse and check a template. Returns its tree and its number of names, numbers and signs.

    Raises:
        TemplateSyntaxError: with the line, where it is malformed, too long, too deep, or uses refused constructs.
    """
    if len(text) > TEMPLATE_CHARACTERS:
        raise TemplateSyntaxError(f"it has {len(text):,} characters, and at most {TEMPLATE_CHARACTERS:,} are read", 1)
    n_tokens = _n_tokens(environment, text)
    try:
        tree = environment.parse(text)
    except (RecursionError, ValueError) as error:  # signs in one another; a number of thousands of digits
        raise TemplateSyntaxError(f"an expression that cannot be read ({error})", 1) from None
    _check(tree, 0, 0, 1)
    return tree, n_tokens


def bounded(environment: Environment, tree: nodes.Template) -> nodes.Template:
    """The tree with filters inserted that count passes of loops and weigh long values."""
    bounded_tree = _Bounding().visit(tree)
    bounded_tree.set_environment(environment)
    return bounded_tree


def _n_tokens(environment: Environment, text: str) -> int:
    """Number of tokens. Counted before parsing, because the parser recurses as deep as the brackets."""
    n_tokens = depth = 0
    for line, kind, value in environment.lex(text):
        if kind in ("data", "whitespace", "comment", "comment_begin", "comment_end"):
            continue
        n_tokens += 1
        depth += (value in "([{") - (value in ")]}") if kind == "operator" else 0
        if n_tokens > TOKENS or depth > NESTING:
            what = f"more than {TOKENS:,} words and signs" if n_tokens > TOKENS else f"{depth} brackets in one another"
            raise TemplateSyntaxError(f"{what}, which no prompt needs", line)
    return n_tokens


def _check(node: nodes.Node, depth: int, loops: int, line: int) -> None:
    line = getattr(node, "lineno", None) or line
    loops += isinstance(node, nodes.For)
    problem = ""
    if not isinstance(node, NODES):
        what = type(node).__name__.lower()
        problem = f"`{what}` is nothing that a prompt template can use; columns, filters, if, for and set are"
    elif depth > NESTING or loops > LOOPS:
        problem = f"nested deeper than {LOOPS if loops > LOOPS else NESTING} levels"
    elif isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS):
        problem = f"only these methods of a value are called: {', '.join(METHODS)}"
    elif isinstance(node, nodes.Call | nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
        problem = "`*` and `**` before an argument are not read"
    elif isinstance(node, nodes.For) and node.recursive:
        problem = "a recursive loop"
    elif isinstance(node, nodes.Filter) and node.name not in FILTER_NAMES:
        problem = f"No filter named {node.name!r}; there are {', '.join(FILTER_NAMES)}"
    elif isinstance(node, nodes.Const) and isinstance(node.value, int) and abs(node.value) > NUMBER:
        problem = f"a number beyond {NUMBER:,}"
    elif isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
        problem = "a number that is not finite"
    elif isinstance(node, nodes.Assign) and not isinstance(node.target, nodes.Name | nodes.Tuple):
        problem = "`set` names what it sets"
    if problem:
        raise TemplateSyntaxError(problem, line)
    for child in node.iter_child_nodes():
        _check(child, depth + 1, loops, line)


class _Bounding(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, PASSED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), JOINED)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, WEIGHED)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, WEIGHED) if isinstance(node.arg, nodes.Slice) else node


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
