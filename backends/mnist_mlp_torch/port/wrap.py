"""What to write where a user's model is a plain `nn.Module`, or is trained by a loop."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

LOSS = "torch.nn.functional.cross_entropy"
OPTIMIZER = "torch.optim.SGD(self.parameters(), lr=0.01)"


def no_module(target: str, source: Any, made: Any) -> str:
    """Why `FILE.py:NAME` cannot be checked, and what to add to the file.

    Parameters
    ----------
    source : object
        What stands under the name.
    made : object
        What calling it gave; the same where it is not called.
    """
    file, _, name = target.rpartition(":")
    if not isinstance(made, nn.Module):
        what = "nothing" if made is None else f"a {type(made).__name__}"
        return (
            f"{target} gives {what}, where check wants a LightningModule: it runs the steps "
            f"itself.\nOf a training loop, put what one batch does into the training_step of a "
            f"LightningModule, and name that (or what makes it)."
        )
    wrapper = f"{name[:1].upper()}{name[1:]}Module"
    return (
        f"{target} is a {type(made).__name__} without a training_step, so check cannot know its "
        f"loss and its optimizer.\nAdd this to {file}, with your own loss and optimizer, and "
        f"check {file}:{wrapper}:\n\n{_lines(Path(file), name, source, made, wrapper)}"
    )


def _lines(path: Path, name: str, source: Any, made: nn.Module, wrapper: str) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loss, optimizer = _loss(tree), _optimizer(tree)
    made_by = type(made).__name__
    own = type(made).__module__ not in ("torch.nn", *_torch_modules()) and _needs_nothing(made)
    if own and any(isinstance(n, ast.ClassDef) and n.name == made_by for n in tree.body):
        head = [f"class {wrapper}({made_by}, lightning.LightningModule):"]
    else:
        call = name if source is made else f"{name}()"
        head = [
            f"class {wrapper}(lightning.LightningModule):",
            "    def __init__(self):",
            "        super().__init__()",
            f"        self.model = {call}",
            "    def forward(self, x):",
            "        return self.model(x)",
        ]
    return "\n".join(
        [
            "import lightning",
            "import torch",
            *head,
            "    def training_step(self, batch, batch_idx):",
            "        x, y = batch",
            f"        return {loss}(self(x), y)",
            "    def configure_optimizers(self):",
            f"        return {optimizer}",
        ]
    )


def _torch_modules() -> set[str]:
    return {type(module).__module__ for module in (nn.Sequential(), nn.Linear(1, 1), nn.ReLU())}


def _needs_nothing(made: nn.Module) -> bool:
    try:
        inspect.signature(type(made)).bind()
    except (TypeError, ValueError):
        return False
    return True


# --- The user's own loss and optimizer, as the file writes them -----------------------------------


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call, with the last part of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield name, node


def _loss(tree: ast.Module) -> str:
    for name, call in _calls(tree):
        if not _known(tree, call.func):
            continue
        if name in ("cross_entropy", "nll_loss"):
            return ast.unparse(call.func)
        if name in ("CrossEntropyLoss", "NLLLoss") and _known(tree, call):
            return ast.unparse(call)
    return LOSS


def _optimizer(tree: ast.Module) -> str:
    for name, call in _calls(tree):
        kind = getattr(torch.optim, name, None)
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            continue
        settings = [*call.args[1:], *(keyword.value for keyword in call.keywords)]
        if all(_known(tree, part) for part in (call.func, *settings)):
            mine = ast.parse("self.parameters()", mode="eval").body
            return ast.unparse(ast.Call(call.func, [mine, *call.args[1:]], call.keywords))
    return OPTIMIZER


def _known(tree: ast.Module, part: ast.AST) -> bool:
    """Whether all names in it are the file's own, and not some function's."""
    own = {"torch"}
    for node in tree.body:
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                own |= {(a.asname or a.name).partition(".")[0] for a in names}
            case ast.Assign(targets=targets):
                own |= {t.id for t in targets if isinstance(t, ast.Name)}
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                own.add(name)
    return all(node.id in own for node in ast.walk(part) if isinstance(node, ast.Name))
