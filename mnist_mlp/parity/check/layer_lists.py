"""The layers of two dense networks side by side: those that `PortFacts` lists for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from mnist_mlp.parity.check.supported import family
from mnist_mlp.parity.outcome import LayerRow, ShownLayer
from mnist_mlp.ports.protocol import PortFacts, PortLayer

INSIDE = ("", "an activation", "a loss", "empty")
"""Families that one framework has as layers and the other as arguments or lines of code."""


def dense_rows(a: PortFacts | None, b: PortFacts) -> tuple[LayerRow, ...]:
    """Dense layers, dropouts, normalisations and changes of shape in the order of execution.

    Without an original, nothing is beside the port's.
    """
    ours, theirs = _listed(a.layers if a else ()), _listed(b.layers)
    widths = {**_widths(ours), **_widths(theirs)}

    def _row(a: PortLayer | None, b: PortLayer | None) -> LayerRow:
        return _row_of(a, b, widths)

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


def _widths(layers: Sequence[PortLayer]) -> dict[int, int]:
    """How many numbers each layer gives for one row, by its identity: in a dense network, what the
    next dense layer takes."""
    found: dict[int, int] = {}
    width = None
    for layer in reversed(layers):
        out = layer.units if layer.dense else width
        if out is not None:
            found[id(layer)] = out
        width = layer.inputs if layer.dense else width
    units = next((layer.units for layer in reversed(layers) if layer.dense), None)
    if units is not None:
        found |= {id(layer): units for layer in layers if id(layer) not in found}
    return found


def _row_of(a: PortLayer | None, b: PortLayer | None, widths: Mapping[int, int]) -> LayerRow:
    ours, theirs = (_settings(layer) for layer in (a, b))
    names = [name for name, value in ours.items() if theirs.get(name, value) != value]
    both = a is not None and b is not None
    return LayerRow(
        a=_shown(a, ours, widths),
        b=_shown(b, theirs, widths),
        differing=tuple(names) if both else (),
    )


def _settings(layer: PortLayer | None) -> dict[str, str]:
    if layer is None:
        return {}
    settings = {name: f"{value:.6g}" for name, value in layer.settings.items()}
    if layer.dense:
        settings |= {"inputs": str(layer.inputs), "units": str(layer.units)}
        settings["bias"] = "yes" if layer.bias else "none"
    return settings


def _shown(
    layer: PortLayer | None, settings: dict[str, str], widths: Mapping[int, int]
) -> ShownLayer | None:
    if layer is None:
        return None
    return ShownLayer(
        name=layer.name,
        kind=layer.kind,
        settings=settings,
        output_shape=str(widths.get(id(layer), "")),
        line=layer.line,
    )
