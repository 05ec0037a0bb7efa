"""Noise that a user writes by hand, as `x + 0.1 * torch.randn_like(x)`: seen as work of one kind.

A draw is followed through the numbers that it is multiplied by, until it meets what it is added
to, or, as `1 + noise`, multiplied with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mnist_mlp_torch.port.pair_layers import Call

_DRAWN = {torch.randn_like, torch.randn, torch.normal, Tensor.normal_}

_ADDS = ("add", "__add__", "__radd__", "add_", "__iadd__")
_MULTIPLIES = ("mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply")

DIGITS = 12
"""A rate is worked out of a deviation, which is a root: its last digits are rounding."""


@dataclass(frozen=True)
class Piece:
    """A tensor that is `mean` (0 or 1) and normal noise of a deviation."""

    tensor: Tensor
    deviation: float
    mean: float = 0.0


class Pieces:
    """The draws of a step that nothing was done with yet, by the identity of their tensors."""

    def __init__(self) -> None:
        self._known: dict[int, Piece] = {}

    def of(self, x: Any) -> Piece | None:
        """What is known of a tensor."""
        found = self._known.get(id(x))
        return found if found is not None and found.tensor is x else None

    def keep(self, piece: Piece) -> None:
        """Know it."""
        self._known[id(piece.tensor)] = piece


def noised(
    pieces: Pieces, func: Any, args: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Call, Callable[..., Any]] | None:
    """The call that lays noise on a tensor, and how it is done; other steps on the way are kept.

    Returns None for any other function, which is then still to be called.
    """
    name = getattr(func, "__name__", "")
    if name not in (*_ADDS, *_MULTIPLIES) or len(args) != 2:
        return None
    found = [pieces.of(x) for x in args]
    if (found[0] is None) == (found[1] is None):
        return None
    place = 0 if found[0] is not None else 1
    piece, other = found[place], args[1 - place]
    assert piece is not None
    if not isinstance(other, Tensor) or other.shape != piece.tensor.shape:
        return None
    kind = "gaussian_noise" if name in _ADDS else "gaussian_dropout"
    if piece.mean != (kind == "gaussian_dropout"):
        return None
    deviation = piece.deviation * float(given.get("alpha", 1.0))
    arguments = {"input": other, "noise": piece.tensor, "deviation": deviation}

    def own(**instead: Any) -> Any:
        ours = {**arguments, **instead}
        both = [ours["input"], ours["noise"]]
        return func(*(both[::-1] if place == 0 else both), **given)

    return Call(kind, arguments), own


def note(
    pieces: Pieces, func: Any, args: Sequence[Any], given: Mapping[str, Any], result: Any
) -> None:
    """Follow draws through a call that was made."""
    if not isinstance(result, Tensor):
        return
    name = getattr(func, "__name__", "")
    if func in _DRAWN:
        moments = [*args[1:], *(given[k] for k in ("mean", "std") if k in given)]
        if name == "normal":
            moments = [*args[:2], *(given[k] for k in ("mean", "std") if k in given)]
        elif name != "normal_":
            moments = [0.0, 1.0]
        if len(moments) == 2 and all(isinstance(m, int | float) for m in moments):
            pieces.keep(Piece(result, float(moments[1]), float(moments[0])))
        return
    if name not in (*_ADDS, *_MULTIPLIES) or len(args) != 2:
        return
    found = [pieces.of(x) for x in args]
    piece = found[0] or found[1]
    if piece is None or None not in found:
        return
    other = args[1] if found[0] is not None else args[0]
    if isinstance(other, Tensor) and (other.dim() or other.requires_grad):
        return
    if not isinstance(other, int | float | Tensor):
        return
    number = float(other)
    if name in _ADDS:
        pieces.keep(replace(piece, tensor=result, mean=piece.mean + number))
    else:
        made = replace(
            piece, tensor=result, deviation=piece.deviation * number, mean=piece.mean * number
        )
        pieces.keep(made)


def settings_of(call: Call) -> dict[str, float]:
    """As Keras's layers have them."""
    deviation = abs(float(call.arguments["deviation"]))
    if call.name == "gaussian_noise":
        return {"stddev": deviation}
    return {"rate": float(f"{deviation**2 / (1 + deviation**2):.{DIGITS}g}")}


def deviation_of(kind: str, settings: Mapping[str, Any]) -> float:
    """Of the noise that a layer of Keras lays on."""
    if kind == "gaussian_noise":
        return float(settings["stddev"])
    rate = float(settings["rate"])
    return (rate / (1 - rate)) ** 0.5


def laid_on(
    kind: str, x: Tensor, settings: Mapping[str, Any], drawn: Tensor | None = None
) -> Tensor:
    """Work of such a layer, with numbers of mean 0 and deviation 1 if they are drawn already."""
    noise = (torch.randn_like(x) if drawn is None else drawn) * deviation_of(kind, settings)
    return x + noise if kind == "gaussian_noise" else x * (1 + noise)


def instead(call: Call, fields: Mapping[str, Any]) -> Tensor:
    """The same draw on another scale, or laid on in another way."""
    mean = 0.0 if call.name == "gaussian_noise" else 1.0
    drawn = (call.arguments["noise"] - mean) / float(call.arguments["deviation"])
    kind, settings = fields.get("kind", (call.name, fields))
    return laid_on(kind, call.input, settings, drawn)
