"""The layers of two dense networks side by side: those that `PortFacts` lists for both."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from mnist_mlp.parity.check.supported import family
from mnist_mlp.parity.outcome import LayerRow, ShownLayer
from mnist_mlp.ports.protocol import PortFacts, PortLayer

INSIDE = ("", "an activation", "a change of shape or scale", "a loss", "empty")
"""Families that one framework has as layers and the other as arguments or lines of code."""


def dense_rows(a: PortFacts | None, b: PortFacts) -> tuple[LayerRow, ...]:
    """Dense layers, dropouts and normalisations in the order of execution.

    Without an original, nothing is beside the port's.
    """
    ours, theirs = _listed(a.layers if a else ()), _listed(b.layers)
    if a is None:
        return tuple(_row(None, layer) for layer in theirs)
    x, y = list(map(_sort, ours)), list(map(_sort, theirs))
    rows = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [_row(*both) for both in zip(ours[i:i_end], theirs[j:j_end], strict=True)]
        else:
            rows += [_row(layer, None) for layer in ours[i:i_end]]
            rows += [_row(None, layer) for layer in theirs[j:j_end]]
    return tuple(rows)


def _listed(layers: Sequence[PortLayer]) -> list[PortLayer]:
    return [layer for layer in layers if layer.dense or family(layer) not in INSIDE]


def _sort(layer: PortLayer) -> str:
    return "dense" if layer.dense else family(layer)


def _row(a: PortLayer | None, b: PortLayer | None) -> LayerRow:
    ours, theirs = (_settings(layer) for layer in (a, b))
    names = [name for name, value in ours.items() if theirs.get(name, value) != value]
    both = a is not None and b is not None
    return LayerRow(a=_shown(a, ours), b=_shown(b, theirs), differing=tuple(names) if both else ())


def _settings(layer: PortLayer | None) -> dict[str, str]:
    if layer is None:
        return {}
    settings = {name: f"{value:.6g}" for name, value in layer.settings.items()}
    if layer.dense:
        settings |= {"inputs": str(layer.inputs), "units": str(layer.units)}
        settings["bias"] = "yes" if layer.bias else "none"
    return settings


def _shown(layer: PortLayer | None, settings: dict[str, str]) -> ShownLayer | None:
    if layer is None:
        return None
    return ShownLayer(name=layer.name, kind=layer.kind, settings=settings, line=layer.line)
