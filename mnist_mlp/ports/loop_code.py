"""What the code of a training loop shows of its learning rates: when they are asked, and whether it
sets them itself."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator

from mnist_mlp.ports.lines import Line


def depends(line: Line | None) -> bool:
    """Whether a call stands under a comparison, as `if epoch < 5:`, so that it may be made in some
    epochs alone; also where no line is known."""
    if line is None:
        return True
    file, number = line
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # a notebook's magics
        return True
    above = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If | ast.While | ast.Match | ast.Try)
        and node.lineno <= number <= (node.end_lineno or number)
    ]
    return any(_compares(node) for node in above)


def _compares(node: ast.AST) -> bool:
    if isinstance(node, ast.Match):
        return True
    found = ast.walk(node.test) if isinstance(node, ast.If | ast.While) else ()
    return any(
        isinstance(each, ast.Compare)
        and not all(isinstance(op, ast.Is | ast.IsNot) for op in each.ops)
        and not any(_is_text(side) for side in (each.left, *each.comparators))
        for each in found
    )


def leaves_early(text: str) -> bool:
    """Whether a loop that calls `backward` for each batch may be left by a `break`."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        return False
    for loop in nodes:
        if isinstance(loop, ast.For):
            own = list(_of_loop(loop.body))
            calls = (x.func for x in own if isinstance(x, ast.Call))
            backward = any(isinstance(x, ast.Attribute) and x.attr == "backward" for x in calls)
            if backward and any(isinstance(x, ast.Break) for x in own):
                return True
    return False


def _of_loop(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes of a loop, but not those of loops and functions within it."""
    for node in nodes:
        if not isinstance(node, ast.For | ast.While | ast.FunctionDef | ast.Lambda):
            yield node
            yield from _of_loop(ast.iter_child_nodes(node))


def _is_text(node: ast.expr) -> bool:
    """A name, as `"__main__"` or that of a phase, which is the same in all epochs."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


RATES = ("lr", "momentum", "betas")
"""What of a group of parameters a schedule may change."""


def writes_rates(text: str) -> bool:
    """Whether code writes a learning rate into an optimizer's `param_groups`; what only reads them,
    as an optimizer of the user's own does, leaves the rates alone."""
    if "param_groups" not in text:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        return True
    groups = {
        name.id
        for node in nodes
        for target, source in _bound(node)
        if _has_groups(source)
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }

    def is_group(node: ast.AST) -> bool:
        return _has_groups(node) or (isinstance(node, ast.Name) and node.id in groups)

    return any(
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store)
        and is_group(node.value)
        and getattr(node.slice, "value", RATES[0]) in RATES
        for node in nodes
    ) or any(
        isinstance(node, ast.Attribute)
        and (node.attr == "add_param_group" or (node.attr == "update" and is_group(node.value)))
        for node in nodes
    )


def _bound(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What a statement or comprehension binds names to."""
    if isinstance(node, ast.For | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.Assign):
        yield from ((name, node.value) for name in node.targets if isinstance(name, ast.Name))


def _has_groups(node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Attribute) and each.attr == "param_groups" for each in ast.walk(node)
    )
