"""Batches that are dictionaries: under which keys they have inputs, and under which the targets."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TARGETS = frozenset(
    ("label", "labels", "target", "targets", "y", "y_true", "class", "classes", "output", "outputs",
     "ground_truth", "gt")
)  # fmt: skip
"""What people call the targets in a batch."""


class KeysError(ValueError):
    """Which entry of a batch holds the targets is not known; the text says why."""


@dataclass(frozen=True)
class BatchKeys:
    """The keys of the inputs, and that of the targets."""

    inputs: tuple[str, ...]
    target: str

    def batch(self, x: Any, y: Any) -> dict[str, Any]:
        """A batch of inputs, one or several by their names, and targets."""
        return {**self.named(x), self.target: y}

    def named(self, x: Any) -> dict[str, Any]:
        """The inputs by their keys."""
        return dict(x) if isinstance(x, Mapping) else {self.inputs[0]: x}

    def parts(self, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        """The inputs of a batch, a dictionary where there are several, and its targets.

        Raises
        ------
        KeysError
            It lacks one of them.
        """
        missing = [key for key in (*self.inputs, self.target) if key not in batch]
        if missing:
            raise KeysError(f"a batch has no {missing[0]!r}, as the first one had")
        if len(self.inputs) == 1:
            return batch[self.inputs[0]], batch[self.target]
        return {key: batch[key] for key in self.inputs}, batch[self.target]


def keys_of(names: Sequence[str], read: Collection[str] = ()) -> BatchKeys:
    """Which of a batch's keys are what: of those that a program is known to `read`, if inputs and
    targets are among them (`net(**batch)` reads none by name), else of all.

    Raises
    ------
    KeysError
        None or several of them are called as targets are, or nothing is left for the inputs.
    """
    for used in ([name for name in names if name in read], names):
        targets = [name for name in used if name.lower() in TARGETS]
        inputs = tuple(sorted(name for name in used if name not in targets))
        if len(targets) == 1 and inputs:
            return BatchKeys(inputs, targets[0])
    if len(targets) != 1:
        how_many = "none" if not targets else f"{len(targets)}"
        raise KeysError(
            f"a batch has {', '.join(map(repr, names))}, of which {how_many} can be told to be the "
            f"target by its name: call one 'label', 'target' or 'y'"
        )
    raise KeysError(f"a batch has {targets[0]!r} alone, and no inputs")


def keys_read_in(source: str, of: str = "") -> list[str]:
    """The texts that a program reads by, as `batch["image"]` and `batch.get("image")`, in their
    order; `of` is the variable, if only one is meant."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    found: list[tuple[int, int, str]] = []
    for node in nodes:
        owner: ast.expr | None = None
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            owner, key = node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("get", "pop")
            and node.args
        ):
            owner, key = node.func.value, node.args[0]
        if of and not (isinstance(owner, ast.Name) and owner.id == of):
            continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.append((key.lineno, key.col_offset, key.value))
    return list(dict.fromkeys(text for *_, text in sorted(found)))
