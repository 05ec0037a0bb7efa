"""What is tried where sequences are embedded, gone through, and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.arrange import laid_like
from mnist_mlp.parity.pair.judge import LIMITS
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.settings import differing, told
from mnist_mlp.parity.pair.weight_map import LayerPair
from mnist_mlp.ports.pair import Mend, PairStep
from mnist_mlp.ports.recurrent import KINDS, MERGES, STEPS, Reading, Strand, read
from mnist_mlp.reference import Array

Tried = tuple[tuple[Mend, ...], Cause]
"""A change of the port, and what it would mend."""


def of_gradient(pair: LayerPair) -> Iterator[Tried]:
    """An embedding's row of padding has no gradient in torch."""
    if pair.a.kind != "embedding":
        return
    for name, ours, theirs in differing(pair.a, pair.b):
        text = told(name, ours, theirs, pair.b.name)
        mends = (Mend(pair.b.number, name, ours),)
        if name == "padding_index":
            yield mends, Cause("padding_index", text)
        elif name == "by_frequency":
            yield mends, Cause("embedding_settings", text)


def of_outputs(pair: LayerPair) -> Iterator[Tried]:
    """Settings of one direction of one recurrent layer."""
    if pair.a.kind not in KINDS:
        return
    for name, ours, theirs in differing(pair.a, pair.b):
        text = told(name, ours, theirs, pair.b.name)
        mends = (Mend(pair.b.number, name, ours),)
        match name:
            case "reset_after":
                yield mends, Cause("gru_reset_after", text)
            case "masked":
                yield mends, Cause("padding_not_masked", text)
            case "activation" | "recurrent_activation" | "state":
                yield mends, Cause("recurrent_settings", text)


def of_update(run: PairRun) -> Iterator[Tried]:
    """Two biases that are added move twice as far as the one that does their work."""
    recurrent = [pair for pair in run.weights.pairs if pair.a.kind in KINDS]
    two_in_a = [pair for pair in recurrent if "recurrent_bias" in pair.a.shapes]
    two_in_b = [pair for pair in recurrent if "recurrent_bias" in pair.b.shapes]
    more = [pair for pair in two_in_b if pair not in two_in_a]
    fewer = [pair for pair in two_in_a if pair not in two_in_b]
    for chosen, text, field, role in (
        (more, "two biases are trained where the original has one", "frozen", "recurrent_bias"),
        (fewer, "one bias is trained where the original has two", "twice", "bias"),
    ):
        if chosen:
            names = ", ".join(pair.b.name for pair in chosen)
            mends = tuple(Mend(pair.b.number, field, role) for pair in chosen)
            yield mends, Cause("recurrent_bias_twice", f"{text}, in {names}")


def of_inputs(run: PairRun, index: int, mended: Sequence[Mend]) -> Iterator[Tried]:
    """How a recurrent layer goes through its inputs, and what is read of the one before."""
    if index >= len(run.weights.pairs):
        return
    pair = run.weights.pairs[index]
    if pair.a.kind in KINDS:
        text = f"the first axis of {pair.b.name} is taken for the time"
        yield (Mend(pair.b.number, "batch_first"),), Cause("batch_first_missing", text)
        text = f"{pair.b.name} goes through the sequence from its other end"
        yield (Mend(pair.b.number, "backwards"),), Cause("sequence_reversed", text)
    yield from _readings(run, index, mended)


# --- Reading --------------------------------------------------------------------------------------


class Operations:
    """See `mnist_mlp.ports.recurrent.ReadOperations`; of arrays."""

    def where(self, condition: Array, x: Array, y: Array) -> Array:
        """Element by element."""
        return np.where(condition, x, y)

    def joined(self, parts: Sequence[Array]) -> Array:
        """Along the last axis."""
        return np.concatenate(list(parts), axis=-1)

    def flipped(self, x: Array) -> Array:
        """Along the second axis."""
        return x[:, ::-1]

    def over_time(self, how: str, x: Array) -> Array:
        """The `mean`, `sum` or `max` over the second axis."""
        found: Array = getattr(x, how)(axis=1)
        return found


OPERATIONS = Operations()


def _readings(run: PairRun, index: int, mended: Sequence[Mend]) -> Iterator[Tried]:
    """The layer `index` may read other steps, directions or layers than in the original.

    What the original reads is told by its values, and so is what the port reads; only where both
    are known is anything tried.
    """
    pair = run.weights.pairs[index]
    first = run.steps_a[0]
    groups = _groups(run, index)
    if not groups:
        return
    mask = _mask(run, first)
    right = _found(first.inputs[pair.a.number], groups, run, mask)
    theirs = run.steps_b(mended, first_only=True)[0].inputs.get(pair.b.number)
    wrong = None if theirs is None else _found(theirs, groups, run, mask)
    if right is None or wrong is None or right == wrong:
        return
    (chosen, how), (others, other) = right, wrong
    numbers = tuple(run.weights.pairs[i].b.number for i in chosen)
    names = ", ".join(run.weights.pairs[i].b.name for i in others)
    text = f"{pair.b.name} reads {other.told} instead of {how.told}, of {names}"
    name = "sequence_read_otherwise"
    if chosen == others and how.steps == other.steps:
        name = "bidirectional_merge"
    elif len(others) > 1 and (how.steps, other.steps) == ("last", "at the end"):
        name = "bidirectional_last_step"
    elif (how.steps, other.steps) == ("masked mean", "mean"):
        name = "padding_not_masked"
    yield (Mend(pair.b.number, "reads", (numbers, how)),), Cause(name, text)


def _groups(run: PairRun, index: int) -> list[tuple[int, ...]]:
    """Layers that give sequences, the nearest first; both directions of one together."""
    outputs = run.steps_a[0].outputs
    pairs = run.weights.pairs
    givers = [
        i
        for i in range(index)
        if pairs[i].a.kind in (*KINDS, "embedding") and outputs[pairs[i].a.number].ndim == 3
    ]
    found: list[tuple[int, ...]] = []
    for i in reversed(givers):
        if i - 1 in givers and _backwards(run, i) != _backwards(run, i - 1):
            found.append((i - 1, i))
        found.append((i,))
    return found


def _backwards(run: PairRun, index: int) -> bool:
    return bool(run.weights.pairs[index].a.settings.get("backwards"))


def _mask(run: PairRun, step: PairStep) -> Array | None:
    """Where an embedding's inputs are no padding."""
    for pair in run.weights.pairs:
        if pair.a.kind == "embedding" and step.inputs[pair.a.number].ndim == 2:
            return (step.inputs[pair.a.number] != 0).astype(np.float64)
    return None


def _found(
    x: Array, groups: Sequence[tuple[int, ...]], run: PairRun, mask: Array | None
) -> tuple[tuple[int, ...], Reading] | None:
    """What some inputs are, of the original's sequences."""
    outputs = run.steps_a[0].outputs
    for group in groups:
        numbers = [run.weights.pairs[i].a.number for i in group]
        strands = [
            Strand(outputs[n], outputs[n][:, -1], _backwards(run, i))
            for n, i in zip(numbers, group, strict=True)
        ]
        merges = MERGES if len(group) > 1 else MERGES[:1]
        for steps, merge in product(STEPS, merges):
            if steps == "masked mean" and (
                mask is None or mask.shape != strands[0].steps.shape[:2]
            ):
                continue
            how = Reading(steps, merge)
            if _equal(x, read(strands, how, OPERATIONS, mask)):
                return group, how
    return None


def _equal(got: Array, expected: Any) -> bool:
    laid = laid_like(got, expected)
    if laid is None:
        return False
    return bool(np.abs(laid - expected).max() <= LIMITS["forward"] * np.abs(expected).max())
