"""What two attentions differ in."""

from __future__ import annotations

from collections.abc import Iterator

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.settings import same, told
from mnist_mlp.ports.attention import BLIND
from mnist_mlp.ports.pair import Mend, PairLayer

KIND = "attention"

Tried = tuple[tuple[Mend, ...], Cause]
"""Changes of the port, and what they would mend."""


def of_settings(a: PairLayer, b: PairLayer) -> Iterator[Tried]:
    """Heads, scale, mask, and which axis is the batch."""
    ours, theirs = a.settings, b.settings
    if ours["heads"] != theirs["heads"]:
        text = told("heads", ours["heads"], theirs["heads"], b.name)
        mends = tuple(Mend(b.number, name, ours[name]) for name in ("heads", "scale"))
        yield mends, Cause("attention_heads", text)
    elif not same(ours["scale"], theirs["scale"]):
        text = told("scale", ours["scale"], theirs["scale"], b.name)
        yield (Mend(b.number, "scale", ours["scale"]),), Cause("attention_scale", text)
    if theirs["mask"] in ("given", BLIND):
        text = f"true and false are exchanged in {b.name}"
        yield (Mend(b.number, "mask", "inverted"),), Cause("attention_mask", text)
    if ours["mask"] != theirs["mask"] and ours["mask"] in ("none", "causal"):
        text = told("mask", ours["mask"], theirs["mask"], b.name)
        yield (Mend(b.number, "mask", ours["mask"]),), Cause("attention_mask", text)
    if theirs.get("steps_first"):
        text = f"{b.name} takes the rows of a batch for steps"
        yield (Mend(b.number, "batch_first", value=True),), Cause("batch_first_missing", text)
