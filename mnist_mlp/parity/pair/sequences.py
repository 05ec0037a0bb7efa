"""What is tried where sequences are embedded, gone through, and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.arrange import laid_like
from mnist_mlp.parity.pair.judge import LIMITS
from mnist_mlp.parity.pair.lengths import differs
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.settings import differing, told
from mnist_mlp.parity.pair.weight_map import LayerPair
from mnist_mlp.ports.pair import Mend, PairLayer, PairStep
from mnist_mlp.ports.recurrent import KINDS, MASKED, MERGES, STEPS, Reading, Strand, read
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


def of_outputs(pair: LayerPair, framework: str) -> Iterator[Tried]:
    """Settings of one direction of one recurrent layer; `framework` is the port's."""
    if pair.a.kind not in KINDS:
        return
    for name, ours, theirs in differing(pair.a, pair.b):
        text = told(name, ours, theirs, pair.b.name)
        mends = (Mend(pair.b.number, name, ours),)
        match name:
            case "reset_after":
                yield mends, Cause("gru_reset_after", text)
            case "masked":
                yield mends, Cause("padding_not_masked" if ours else "padding_masked", text)
            case "activation" | "recurrent_activation" | "state":
                fix = _fix_of_cell(name, ours, pair.b, framework)
                yield mends, Cause("recurrent_settings", text, fix=fix)


def _fix_of_cell(name: str, wanted: object, layer: PairLayer, framework: str) -> str:
    """A function that a recurrent layer has to have; of torch's own, only `nn.RNN` has another."""
    if name == "state":
        first = "no first state" if wanted == "zeros" else "the original's first state"
        return f"by hand, call {layer.name} with {first}"
    if framework == "keras":
        return f'{name}="{wanted}" in {layer.name}'
    if layer.kind == "rnn":
        return f'nonlinearity="{wanted}" in {layer.name}'
    which = "the gates" if name == "recurrent_activation" else "the state"
    return f"by hand, a cell of your own in a loop, with {wanted} for {which}, for {layer.name}"


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
    # What a layer gives for padding is not compared where it stands elsewhere or one side masks it.
    for before in run.weights.pairs[:index]:
        tried = of_outputs(before, run.facts_b.framework)
        yield from (each for each in tried if each[0][0].field == "masked")
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
    pairs = run.weights.pairs
    right = _found(first.inputs[pair.a.number], groups, [p.a for p in pairs], first)
    theirs = run.steps_b(mended, first_only=True)[0]
    got = theirs.inputs.get(pair.b.number)
    wrong = None
    if got is not None:
        wrong = _found(got, groups, [p.a for p in pairs], first)
        if wrong is None and differs(run.rows_a, run.rows_b):
            wrong = _found(got, groups, [p.b for p in pairs], theirs)
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
    elif (how.steps, other.steps) == ("mean", "masked mean"):
        name = "padding_masked"
    yield (Mend(pair.b.number, "reads", (numbers, how)),), Cause(name, text)
    if how.steps == "last" and other.masked:  # behind padding, it is no other word's
        last_word = replace(how, steps="last word")
        fix = "by hand, take of each row the step of its last word, and no padding"
        yield (Mend(pair.b.number, "reads", (numbers, last_word)),), Cause(name, text, fix=fix)


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


def _mask(layers: Sequence[PairLayer], step: PairStep) -> Array | None:
    """Where an embedding's inputs are no padding."""
    for layer in layers:
        ids = step.inputs.get(layer.number) if layer.kind == "embedding" else None
        if ids is not None and ids.ndim == 2:
            return (ids != 0).astype(np.float64)
    return None


def _found(
    x: Array, groups: Sequence[tuple[int, ...]], layers: Sequence[PairLayer], step: PairStep
) -> tuple[tuple[int, ...], Reading] | None:
    """What some inputs are, of the sequences of one side's layers.

    What a layer gives for padding may have been set to zero, as it is where rows are packed.
    """
    mask = _mask(layers, step)
    found = _read_from(x, groups, layers, step, mask)
    if found is not None or mask is None:
        return found
    zeroed = dict(step.outputs)
    for layer in layers:
        y = step.outputs.get(layer.number)
        if y is not None and y.ndim == 3 and y.shape[:2] == mask.shape:
            backwards = bool(layer.settings.get("backwards"))
            zeroed[layer.number] = y * (mask[:, ::-1] if backwards else mask)[..., None]
    return _read_from(x, groups, layers, replace(step, outputs=zeroed), mask)


def _read_from(
    got: Array,
    groups: Sequence[tuple[int, ...]],
    layers: Sequence[PairLayer],
    step: PairStep,
    mask: Array | None,
) -> tuple[tuple[int, ...], Reading] | None:
    for group in groups:
        known = [layers[i] for i in group if layers[i].number in step.outputs]
        strands = [
            Strand(x, x[:, -1], bool(layer.settings.get("backwards")))
            for layer in known
            if (x := step.outputs[layer.number]).ndim == 3
        ]
        if len(strands) < len(group):
            continue
        merges = MERGES if len(group) > 1 else MERGES[:1]
        for steps, merge in product(STEPS, merges):
            if steps in MASKED and (mask is None or mask.shape != strands[0].steps.shape[:2]):
                continue
            how = Reading(steps, merge)
            if _equal(got, read(strands, how, OPERATIONS, mask)):
                return group, how
    return None


def _equal(got: Array, expected: Any) -> bool:
    laid = laid_like(got, expected)
    if laid is None:
        return False
    return bool(np.abs(laid - expected).max() <= LIMITS["forward"] * np.abs(expected).max())
