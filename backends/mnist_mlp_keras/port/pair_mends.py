"""Experiments on a Keras model: a layer gets another setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnist_mlp.ports.pair import Mend

ATTRIBUTES = {
    "epsilon": "epsilon",
    "momentum": "momentum",
    "rate": "rate",
    "slope": "negative_slope",
    "alpha": "alpha",
}
"""Where a layer keeps a setting that an experiment changes."""


def set_layer(layer: Any, mends: Sequence[Mend]) -> bool:
    """Change settings of a layer; whether it is to be left out."""
    for mend in mends:
        name = ATTRIBUTES.get(mend.field)
        if name is not None and hasattr(layer, name):
            setattr(layer, name, mend.value)
    return any(mend.field == "skip" for mend in mends)
