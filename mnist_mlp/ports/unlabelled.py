"""Batches without targets: outputs are compared with the inputs, as an autoencoder's are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_mlp.ports.protocol import OwnData, OwnPass

BARE, TUPLE, BESIDE = "bare", "tuple", "beside"
"""How such batches come: `x`, `(x,)`, or `(x, y)` of which only `x` is looked at."""


def form_of(batch: Any) -> str:
    """How a batch comes that is one array; empty for a batch of several, or by names."""
    if isinstance(batch, Mapping):
        return ""
    if isinstance(batch, tuple | list):
        return TUPLE if len(batch) == 1 else ""
    return BARE


def batch_of(form: str, x: Any, unused: Any = 0) -> Any:
    """A batch in such a form; `unused` is what stands beside the inputs."""
    if form == BARE:
        return x
    return (x,) if form == TUPLE else (x, unused)


def seen_form(
    batch: Any, given: Any, targets: Any, same: Callable[[Any, Any], bool], *, parts: Sequence[Any]
) -> str:
    """How a loop gets batches whose inputs, as they are, are all that its model and its loss look
    at; empty if they look at something else, or nobody knows.

    `parts` are the arrays of one `batch`, `given` is what the model was called with, and `targets`
    are what a loss of the framework was given, or None. `same` compares two of them.
    """
    if not parts or not same(given, parts[0]):
        return ""
    if targets is None:
        return form_of(batch)
    again = [same(targets, part) for part in parts]
    if not again[0]:
        return ""
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    return form_of(batch) or (BESIDE if pair and not any(again[1:]) else "")


def with_repeats(own: OwnData | None) -> OwnData | None:
    """Own data, with it said if their targets are the inputs again, as in `fit(x, x)`."""
    if own is None or own.padding is not None or not own.epochs:
        return own
    passes = [*own.epochs, *([own.validation] if own.validation is not None else [])]
    again = bool(own.unlabelled) or all(_repeats_inputs(own, one) for one in passes)
    return replace(own, again=again)


def _repeats_inputs(own: OwnData, one: OwnPass) -> bool:
    if one.targets.ndim != 2 or one.targets.shape[1] != own.rows.inputs:
        return False
    ends = np.cumsum(one.sizes)[:-1]
    both = zip(one.batches, np.split(one.targets, ends), strict=True)
    return all(np.array_equal(own.rows.take(ids), targets) for ids, targets in both)
