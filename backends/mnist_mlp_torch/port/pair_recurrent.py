"""Recurrent layers of torch: a call is taken apart into its layers and directions.

Each of them is a call of torch's own, with the same arithmetic. So every one can be observed, and
done otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.recurrent import Strand, read, unrolled
from mnist_mlp_torch.port.pair_gates import canonical
from mnist_mlp_torch.port.pair_layers import (
    RECURRENT,
    Call,
    activation,
    call_of,
    recurrent_settings,
    tensors_of,
)

FUNCTIONS = {getattr(torch, name): name for name in RECURRENT}
"""Names by function; modules call these, and nobody else as a rule."""

ARGUMENTS = ("input", "states", "weights", "has_biases", "layers", "rate", "training", "both",
             "batch_first")  # fmt: skip
"""Those of a call; on packed rows, their sizes come second, and there is no last."""

OF_ALL_STEPS = ("lstm", "gru", "rnn_tanh", "rnn_relu")

IN_ROWS = True
"""Rows are the first axis of what is packed."""

GIVEN = ("activation", "recurrent_activation", "reset_after", "state", "masked")
"""Settings that an experiment changes; torch has no arguments for them."""


class Observer(Protocol):
    """Whoever is shown the calls."""

    sequences: Sequences

    @property
    def mends(self) -> Mapping[int, Sequence[Mend]]:
        """Experiments by number of the layer."""
        ...

    @property
    def here(self) -> int:
        """The number that the next call gets."""
        ...

    def called(self, call: Call, own: Callable[..., Any]) -> Any:
        """One call: done, perhaps otherwise, and noted."""
        ...


class Operations:
    """See `mnist_mlp.ports.recurrent.Operations`."""

    def activation(self, name: str, x: Tensor) -> Tensor:
        """An activation by its shared name."""
        return activation(name, x, {})

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Element by element."""
        return torch.where(condition, x, y)

    def stacked(self, steps: Sequence[Tensor]) -> Tensor:
        """Steps (n, units) as (n, steps, units)."""
        return torch.stack(list(steps), dim=1)

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Along the last axis."""
        return torch.cat(list(parts), dim=-1)

    def flipped(self, x: Tensor) -> Tensor:
        """Along the second axis."""
        return x.flip(1)

    def over_time(self, how: str, x: Tensor) -> Tensor:
        """The `mean`, `sum` or `max` over the second axis."""
        return x.amax(dim=1) if how == "max" else getattr(x, how)(dim=1)


OPERATIONS = Operations()


@dataclass
class Sequences:
    """Those of one step, by number of the layer that gives them, and the ids that they came of."""

    strands: dict[int, Strand] = field(default_factory=dict)
    ids: Tensor | None = None
    packed: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)
    """Packed rows by their id: themselves, the sequences (n, steps, features), and lengths."""
    unsorted: Tensor | None = None
    """Where each row is among those that the module that runs was given packed, by length."""

    def mask(self, x: Tensor | None = None) -> Tensor:
        """Where there is no padding; of what is not embedded, by the steps `x` of a layer."""
        if self.ids is None and x is not None:
            return (x != 0).any(dim=-1)
        if self.ids is None:
            raise UsageError("which steps are padding is not known: no layer embeds them")
        return self.ids != 0

    def note(self, call: Call, number: int, result: Any) -> None:
        """Keep what a layer gave, if that is a sequence; a cell gives one step more of it."""
        if call.kind == "embedding":
            self.ids = call.input
            if result.dim() > 2:
                self.strands[number] = Strand(result, result[:, -1])
        elif "lengths" in call.arguments:
            backwards = call.arguments["backwards"]
            self.strands[number] = Strand(first_of(result), result[1][0], backwards)
        elif call.name in OF_ALL_STEPS:
            backwards = call.arguments["backwards"]
            self.strands[number] = Strand(result[0], result[1][0], backwards)
        elif call.name in RECURRENT:
            h = first_of(result)
            steps = h[:, None]
            if number in self.strands:
                steps = torch.cat([self.strands[number].steps, steps], dim=1)
            self.strands[number] = Strand(steps, h)

    def reading(
        self, call: Call, own: Callable[..., Any], mends: Sequence[Mend]
    ) -> tuple[Call, Callable[..., Any]]:
        """A call, with its input read otherwise of the sequences before it, or backwards."""
        for mend in mends:
            if mend.field == "reads":
                numbers, how = mend.value
                mask = self.mask().to(torch.get_default_dtype()) if how.masked else None
                x = read([self.strands[n] for n in numbers], how, OPERATIONS, mask)
            elif mend.field == "backwards":
                x = call.input.flip(1)
            else:
                continue
            call = replace(call, arguments={**call.arguments, "input": x})
            own = partial(own, input=x)
        return call, own


def first_of(result: Any) -> Any:
    """What goes on to the next layer; recurrent ones also give states."""
    return result[0] if isinstance(result, tuple) else result


def pack(sequences: Sequences, function: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
    """torch packs sequences: remember which."""
    data, sizes = function(*args, **given)
    x, lengths, batch_first = args[:3]
    sequences.packed[id(data)] = data, x if batch_first else x.transpose(0, 1), lengths
    return data, sizes


def _of_packed(observer: Observer, function: Any, args: Sequence[Any]) -> Any:
    """A call on packed rows: shown layer by layer and direction by direction, each as one on the
    rows before they were packed, whose state is held at their end."""
    data, sizes, states, weights, biases, layers, rate, training, both = args
    known = observer.sequences.packed.get(id(data))
    directions = 2 if both else 1
    each = len(weights) // (layers * directions)
    if known is None or each != (4 if biases else 2):  # with a projection
        return function(*args)
    _, x, lengths = known
    order = observer.sequences.unsorted
    rows = torch.arange(len(x)) if order is None else order
    begins = states if isinstance(states, tuple) else (states,)
    ends: list[Sequence[Tensor]] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            k = len(ends)
            strand = _Packed(function, sizes, lengths, rows, backwards=bool(direction))
            begin = [state[k : k + 1] for state in begins]
            own = weights[k * each : (k + 1) * each]
            name = FUNCTIONS[function]
            label = f"{name} {layer}{' backwards' if direction else ''}"
            shown = x[rows].flip(1) if direction else x[rows]
            call = _strand(name, shown, begin, own, label=label, backwards=bool(direction))
            call = replace(call, arguments={**call.arguments, "lengths": lengths, "masked": True})
            shown = observer.called(call, partial(strand.run, x, begin, own))
            out, *end = strand.result or strand.sorted(shown)
            outputs.append(out)
            ends.append(end)
        x = torch.cat(outputs, dim=-1) if both else outputs[0]
        if rate and layer < layers - 1:
            dropped = _dropped(observer, {"input": x[rows], "p": rate, "training": training})
            x = dropped[torch.argsort(rows)]
    packed, _ = torch._VF._pack_padded_sequence(x, lengths, IN_ROWS)
    return (packed, *(torch.cat(parts) for parts in zip(*ends, strict=True)))


class _Packed:
    """One direction of one layer on packed rows; `rows` puts what is sorted by length back."""

    def __init__(
        self, function: Any, sizes: Tensor, lengths: Tensor, rows: Tensor, *, backwards: bool
    ) -> None:
        self.function, self.sizes, self.lengths, self.rows = function, sizes, lengths, rows
        self.backwards = backwards
        self.result: Sequence[Tensor] | None = None
        """Steps (n, steps, units) in time, and states, of rows sorted by length."""

    def run(
        self, x: Tensor, begin: Sequence[Tensor], weights: Sequence[Tensor], **_: Any
    ) -> tuple[Tensor, ...]:
        """What an observer is shown: steps in the order in which they are gone through."""
        turned = self._turned(x) if self.backwards else x
        data, _ = torch._VF._pack_padded_sequence(turned, self.lengths, IN_ROWS)
        hidden = tuple(begin) if len(begin) > 1 else begin[0]
        one = (len(weights) > 2, 1, 0.0, True, False)
        out, *end = self.function(data, self.sizes, hidden, list(weights), *one)
        steps = pad_packed_sequence(
            PackedSequence(out, self.sizes), batch_first=True, total_length=x.shape[1]
        )[0]
        self.result = (self._turned(steps) if self.backwards else steps, *end)
        last, shown = end[0][0][self.rows], self.result[0][self.rows]
        ended = torch.arange(x.shape[1])[None, :, None] >= self.lengths[self.rows][:, None, None]
        states = (state[:, self.rows] for state in end)
        if self.backwards:  # padding comes first there, and has nothing to hold
            return (torch.where(ended, 0, shown).flip(1), *states)
        return (torch.where(ended, last[:, None], shown), *states)

    def sorted(self, shown: Sequence[Tensor]) -> Sequence[Tensor]:
        """What an experiment has made of it instead, as the result."""
        steps, *states = shown
        back = torch.argsort(self.rows)
        steps = steps.flip(1) if self.backwards else steps
        return steps[back], *(state[:, back] for state in states)

    def _turned(self, x: Tensor) -> Tensor:
        """Each row from its last step to its first; padding stays where it is."""
        steps = torch.arange(x.shape[1])[None]
        at = torch.where(steps < self.lengths[:, None], self.lengths[:, None] - 1 - steps, steps)
        return x.gather(1, at[..., None].expand_as(x))


def apart(observer: Observer, function: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
    """A call of torch's, layer by layer and direction by direction, each shown to an observer."""
    name = FUNCTIONS[function]
    if name not in OF_ALL_STEPS:
        return _one_step(observer, function, name, args)
    if given or len(args) != len(ARGUMENTS):
        return function(*args, **given)
    if not isinstance(args[3], bool):
        return _of_packed(observer, function, args)
    x, states, weights, biases, layers, rate, training, both, batch_first = args
    directions = 2 if both else 1
    each = len(weights) // (layers * directions)
    if each != (4 if biases else 2):  # with a projection
        return function(*args)
    first = observer.mends.get(observer.here, ())
    if any(mend.field == "batch_first" for mend in first):
        batch_first = True
    x = x if batch_first else x.transpose(0, 1)
    states = states if isinstance(states, tuple) else (states,)
    ends: list[Sequence[Tensor]] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            k = len(ends)
            begin = [state[k : k + 1] for state in states]
            own = weights[k * each : (k + 1) * each]
            if any(s.shape[1] != x.shape[0] for s in begin):  # the other axis was the batch
                begin = [torch.zeros_like(s[:, :1]).expand(-1, len(x), -1).contiguous()
                         for s in begin]  # fmt: skip
            label = f"{name} {layer}{' backwards' if direction else ''}"
            call = _strand(name, x.flip(1) if direction else x, begin, own, label=label,
                           backwards=bool(direction))  # fmt: skip
            out, *end = observer.called(call, _native(function, call, begin, own))
            outputs.append(out.flip(1) if direction else out)
            ends.append(end)
        x = torch.cat(outputs, dim=-1) if both else outputs[0]
        if rate and layer < layers - 1:
            x = _dropped(observer, {"input": x, "p": rate, "training": training})
    x = x if batch_first else x.transpose(0, 1)
    return (x, *(torch.cat(parts) for parts in zip(*ends, strict=True)))


def _strand(
    name: str,
    x: Tensor,
    begin: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    label: str,
    backwards: bool = False,
) -> Call:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arguments = {"input": x, "begin": begin, "backwards": backwards}
    return Call(name, {**arguments, **dict(zip(names, weights, strict=False))}, label)


def _native(
    function: Any, call: Call, begin: Sequence[Tensor], weights: Sequence[Tensor]
) -> Callable[..., Any]:
    def own(**instead: Any) -> Any:
        x = instead.get("input", call.input)
        hidden = tuple(begin) if len(begin) > 1 else begin[0]
        one = {"num_layers": 1, "dropout": 0.0, "train": True, "bidirectional": False}
        return function(
            x, hidden, list(weights), has_biases=len(weights) > 2, batch_first=True, **one
        )

    return own


def _dropped(observer: Observer, given: Mapping[str, Any]) -> Tensor:
    """What torch drops between two layers of one call."""
    call = call_of(F.dropout, (), given)
    assert call is not None
    dropped: Tensor = observer.called(call, lambda **instead: F.dropout(**{**given, **instead}))
    return dropped


def _one_step(observer: Observer, function: Any, name: str, args: Sequence[Any]) -> Any:
    """A cell: as a layer of one step; the steps of a loop are put together by the observer."""
    x, state, *weights = args
    states = state if isinstance(state, tuple | list) else (state,)
    call = _strand(name, x, [s[None] for s in states], weights, label=name)
    return observer.called(call, lambda **_: function(*args))


def strand(
    call: Call, own: Callable[..., Any], fields: Mapping[str, Any], sequences: Sequences
) -> Any:
    """One direction of one layer, with experiments in effect."""
    x = call.input
    packed = "lengths" in call.arguments
    if not fields.keys() & set(GIVEN) or (packed and fields.get("masked") is not False):
        return own(input=x)
    settings = {**recurrent_settings(call), **fields}
    begin = [state[0] for state in call.arguments["begin"]]
    if "state" in fields:
        begin = [torch.zeros_like(state) for state in begin]
    tensors = {
        role: canonical(call.kind, role, tensor) for role, tensor in tensors_of(call).items()
    }
    here = sequences.mask(x) if settings["masked"] else None
    if here is not None and call.arguments.get("backwards") and sequences.ids is not None:
        here = here.flip(1)
    steps, end = unrolled(call.kind, x, tensors, settings, begin, OPERATIONS, here)
    return (steps, *(state[None] for state in end))
