"""The layout of recurrent weights: torch's, and the one that both frameworks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_mlp.reference import Array


def canonical(kind: str, role: str, tensor: Any) -> Any:
    """A tensor, or an array, in the layout that both frameworks share; its gradient goes through.

    A GRU's gates are reset, update and candidate in torch.
    """
    if kind == "gru":
        units = tensor.shape[0] // 3
        parts = [tensor[units : 2 * units], tensor[:units], tensor[2 * units :]]
        tensor = torch.cat(parts) if isinstance(tensor, Tensor) else np.concatenate(parts)
    return tensor if role.endswith("bias") else tensor.T


def from_canonical(kind: str, role: str, value: Array) -> Array:
    """Back, of an array; the exchange of a GRU's first two gates is its own inverse."""
    value = value if role.endswith("bias") else value.T
    if kind != "gru":
        return value
    units = len(value) // 3
    return np.concatenate([value[units : 2 * units], value[:units], value[2 * units :]])
