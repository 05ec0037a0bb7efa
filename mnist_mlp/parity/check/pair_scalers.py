"""Features that both sides standardise, by the statistics of other rows.

Standardised features stay the same if they were scaled and shifted before. So the original's rows,
standardised by those that a port's scaler was fitted on, are the port's rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mnist_mlp.parity.check.pair_brought import Pair
from mnist_mlp.parity.findings import Cause
from mnist_mlp.reference import Array

ALIKE = 1e-4
"""How far apart two equal features may be, as a share of their span: float32 through a mean and a
deviation."""


def _standard(x: Array) -> tuple[Array, Array]:
    return x.mean(axis=0), x.std(axis=0)


def _between_0_and_1(x: Array) -> tuple[Array, Array]:
    return x.min(axis=0), np.ptp(x, axis=0)


FITS = {"mean and deviation": _standard, "minimum and maximum": _between_0_and_1}
"""What scalers take from the rows that they are fitted on: an offset and a divisor, by feature."""


MOST_NUMBERS = 2**25
"""So many numbers are copied as float64 to take their statistics, 256 MiB; larger sets are not
looked at."""

OWN = "the port's own training rows"


@dataclass(frozen=True)
class Scaler:
    """A scaler, and the rows that it was fitted on, in words."""

    statistics: str
    rows: str


def scaler_cause(ours: Array, theirs: Array, pair: Pair, where: str) -> Cause | None:
    """The rows that the scalers of both sides were fitted on, where these are not the same ones.

    `ours` and `theirs` (n, features) are what the networks see of the same rows.
    """
    found = list(_scaled(theirs, pair))
    port = next((scaler for scaler, made in found if _alike(made, ours)), None)
    original = next((scaler for scaler, made in found if _alike(made, theirs)), None)
    if port is None or original is None or port.statistics != original.statistics:
        return None
    text = f"{port.statistics} of {port.rows}, the original's of {original.rows}"
    fix = f"fit the scaler on {original.rows}"
    if port.rows == OWN:
        fix = "mended with the split: the scaler is fitted on the rows that are trained on"
    return Cause("scaler_fitted_on_other_rows", f"{text}, {where}", fix=fix)


def _scaled(x: Array, pair: Pair) -> Iterator[tuple[Scaler, Array]]:
    """The rows `x` of the original by each scaler, fitted on each of its sets of rows."""
    for words, rows in _sets(pair):
        for statistics, fit in FITS.items():
            offset, divisor = fit(rows)
            yield Scaler(statistics, words), (x - offset) / np.where(divisor > 0, divisor, 1)


def _sets(pair: Pair) -> Iterator[tuple[str, Array]]:
    """What the original's network sees of the rows that a scaler may be fitted on."""
    train, validation = pair.a.epochs[0].ids, pair.a.validation
    sets = {"the training rows": train}
    if validation is not None:
        sets["the training and validation rows together"] = np.append(train, validation.ids)
        sets["the validation rows"] = validation.ids
    own = pair.places[pair.b.epochs[0].ids]
    if (own >= 0).all():
        sets[OWN] = own
    for words, ids in sets.items():
        if len(ids) * pair.a.rows.inputs <= MOST_NUMBERS:
            yield words, pair.original.network_inputs(pair.a.rows.take(ids))


def _alike(made: Array, seen: Array) -> bool:
    return bool(np.abs(made - seen).max() <= ALIKE * (np.ptp(seen) or 1.0))
