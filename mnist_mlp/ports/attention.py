"""What an attention may see, in one convention for both frameworks: true where it may look.

Keras's masks are true where a query attends, torch's boolean ones of a `MultiheadAttention` where
it must not, and real numbers are added to the scores.
"""

from __future__ import annotations

import numpy as np

from mnist_mlp.reference import Array

SETTINGS = ("heads", "scale", "mask", "batch_first")
"""What an experiment changes of an attention. A `mask` is `none`, `causal` or `inverted`."""


BLIND = "queries that see nothing"


def mask_name(allowed: Array | None) -> str:
    """`none`, `causal`, or `given` for another; `allowed` (..., queries, keys) is boolean.

    It is `BLIND` where a query may look at nothing: Keras then lets it look at everything, torch
    gives no numbers.
    """
    if allowed is None or allowed.all():
        return "none"
    if not allowed.any(axis=-1).all():
        return BLIND
    lower = np.tril(np.ones(allowed.shape[-2:], bool))
    return "causal" if bool((allowed == lower).all()) else "given"
