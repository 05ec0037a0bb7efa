"""Recurrent layers written down once, for tensors of any framework, and how their results are read.

A strand is one direction of one layer. Its tensors have Keras's layout: kernels (inputs, gates *
units) and (units, gates * units), the gates of an LSTM in the order input, forget, candidate,
output, those of a GRU in the order update, reset, candidate. A strand's steps are in the order in
which it goes through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

KINDS = ("lstm", "gru", "rnn")


class ReadOperations(Protocol):
    """What `read` needs of a framework beside the operators of its tensors."""

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """Element by element."""
        ...

    def joined(self, parts: Sequence[Any]) -> Any:
        """Along the last axis."""
        ...

    def flipped(self, x: Any) -> Any:
        """Along the second axis."""
        ...

    def over_time(self, how: str, x: Any) -> Any:
        """The `mean`, `sum` or `max` over the second axis."""
        ...


class Operations(ReadOperations, Protocol):
    """What `unrolled` needs, too."""

    def activation(self, name: str, x: Any) -> Any:
        """An activation by its shared name."""
        ...

    def stacked(self, steps: Sequence[Any]) -> Any:
        """Steps (n, units) as (n, steps, units)."""
        ...


def unrolled(
    kind: str,
    x: Any,
    tensors: Mapping[str, Any],
    settings: Mapping[str, Any],
    state: Sequence[Any],
    ops: Operations,
    mask: Any = None,
) -> tuple[Any, list[Any]]:
    """Outputs (n, steps, units) and the last state, of inputs (n, steps, features).

    `mask` (n, steps) holds the state where it is false.
    """
    outputs = []
    for step in range(x.shape[1]):
        after = _step(kind, x[:, step], tensors, settings, state, ops)
        if mask is not None:
            here = mask[:, step][:, None]
            after = [ops.where(here, new, old) for new, old in zip(after, state, strict=True)]
        state = after
        outputs.append(state[0])
    return ops.stacked(outputs), list(state)


def _step(
    kind: str,
    x: Any,
    tensors: Mapping[str, Any],
    settings: Mapping[str, Any],
    state: Sequence[Any],
    ops: Operations,
) -> list[Any]:
    h = state[0]
    units = h.shape[-1]
    recurrent = tensors["recurrent_kernel"]
    given = x @ tensors["kernel"]
    if "bias" in tensors:
        given = given + tensors["bias"]

    def parts(z: Any) -> list[Any]:
        return [z[:, k * units : (k + 1) * units] for k in range(z.shape[-1] // units)]

    def inner(z: Any) -> Any:
        return ops.activation(str(settings["activation"]), z)

    def gate(z: Any) -> Any:
        return ops.activation(str(settings["recurrent_activation"]), z)

    if kind == "gru" and not settings["reset_after"]:
        added = tensors.get("recurrent_bias")
        before = parts(given if added is None else given + added)
        z = gate(before[0] + h @ recurrent[:, :units])
        r = gate(before[1] + h @ recurrent[:, units : 2 * units])
        return [z * h + (1 - z) * inner(before[2] + (r * h) @ recurrent[:, 2 * units :])]
    kept = h @ recurrent
    if "recurrent_bias" in tensors:
        kept = kept + tensors["recurrent_bias"]
    if kind == "rnn":
        return [inner(given + kept)]
    if kind == "gru":
        (z, r, n), (z_kept, r_kept, n_kept) = parts(given), parts(kept)
        z, r = gate(z + z_kept), gate(r + r_kept)
        return [z * h + (1 - z) * inner(n + r * n_kept)]
    i, f, g, o = parts(given + kept)
    c = gate(f) * state[1] + gate(i) * inner(g)
    return [gate(o) * inner(c), c]


# --- What is read of the results ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Strand:
    """Results of one: `steps` (n, steps, units), and `last` (n, units), its state at the end."""

    steps: Any
    last: Any
    backwards: bool = False


@dataclass(frozen=True)
class Reading:
    """Which steps are taken of each strand, and how several strands become one."""

    steps: str
    merge: str = "concat"

    @property
    def told(self) -> str:
        """In words."""
        return self.steps if self.merge == "concat" else f"{self.steps}, merged by {self.merge}"

    @property
    def masked(self) -> bool:
        """Whether it depends on which steps are padding."""
        return self.steps in MASKED


MASKED = ("masked mean", "last word", "word before the last")

STEPS = ("last", "sequence", "at the end", "at the start", "mean", "max", "sum", *MASKED)
"""`last` is the state that each direction ends with, `at the end` and `at the start` are one step
of the sequence, where the two directions have not gone through the same steps. The `last word` is
the last step that is no padding."""

MERGES = ("concat", "sum", "ave", "mul", "concat, backwards first")


def read(strands: Sequence[Strand], how: Reading, ops: ReadOperations, mask: Any = None) -> Any:
    """What the next layer gets; `mask` (n, steps) is needed where the reading is `masked`."""
    parts = [_taken(strand, how.steps, ops, mask) for strand in strands]
    match how.merge:
        case "concat":
            return parts[0] if len(parts) == 1 else ops.joined(parts)
        case "concat, backwards first":
            return ops.joined(parts[::-1])
        case "mul":
            return parts[0] * parts[-1]
    total = parts[0] + parts[-1]
    return total / 2 if how.merge == "ave" else total


def _taken(strand: Strand, steps: str, ops: ReadOperations, mask: Any) -> Any:
    in_time = ops.flipped(strand.steps) if strand.backwards else strand.steps
    match steps:
        case "last":
            return strand.last
        case "sequence":
            return in_time
        case "at the end":
            return in_time[:, -1]
        case "at the start":
            return in_time[:, 0]
        case "masked mean":
            words = ops.over_time("sum", mask[:, :, None])
            words = ops.where(words == 0, words + 1, words)
            return ops.over_time("sum", in_time * mask[:, :, None]) / words
        case "last word" | "word before the last":
            chosen = mask * (1 - _next(mask, ops))
            chosen = chosen if steps == "last word" else _next(chosen, ops)
            return ops.over_time("sum", in_time * chosen[:, :, None])
    return ops.over_time(steps, in_time)


def _next(x: Any, ops: ReadOperations) -> Any:
    """At each step (n, steps) what stands at the one behind it; 0 at the last."""
    return ops.joined([x[:, 1:], 0 * x[:, :1]])
