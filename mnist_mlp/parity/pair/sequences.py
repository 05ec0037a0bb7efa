"""What is tried where sequences are embedded."""

from __future__ import annotations

from collections.abc import Iterator

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.settings import differing, told
from mnist_mlp.parity.pair.weight_map import LayerPair
from mnist_mlp.ports.pair import Mend

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
