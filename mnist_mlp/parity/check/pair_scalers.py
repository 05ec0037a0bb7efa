"""Features that both sides scale, by other statistics or by those of other rows.

Standardised features stay the same if they were scaled and shifted before. So the original's rows,
standardised by those that a port's scaler was fitted on, are the port's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def _sample(x: Array) -> tuple[Array, Array]:
    return x.mean(axis=0), x.std(axis=0, ddof=min(1, len(x) - 1))


FITS = {
    "mean and deviation": _standard,
    "mean and sample deviation (by n - 1)": _sample,
    "minimum and maximum": _between_0_and_1,
}
"""What scalers take from the rows that they are fitted on: an offset and a divisor, by feature."""


FIXES = {
    "mean and deviation": "divide by the deviation of all rows: x.std(axis=0) of NumPy, "
    "x.std(0, correction=0) of torch, ddof=0 in pandas, StandardScaler",
    "mean and sample deviation (by n - 1)": "divide by the sample deviation: "
    "x.std(axis=0, ddof=1) of NumPy, x.std(0) of torch and pandas",
    "minimum and maximum": "scale to 0 .. 1 by the minimum and the maximum, as MinMaxScaler",
}
"""How features are scaled so."""

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
    """What the scalers of both sides are fitted on, and how, where these are not the same.

    `ours` and `theirs` (n, features) are what the networks see of the same rows.
    """
    found = list(_scaled(theirs, pair))
    port, original = _nearest(found, ours), _nearest(found, theirs)
    if port is None or original is None or port == original:
        return None
    if port.rows == original.rows:
        text = f"{port.statistics} of {port.rows}, the original's {original.statistics}, {where}"
        return Cause("other_scaler", text, fix=FIXES[original.statistics])
    same = port.statistics == original.statistics
    whose = "of" if same else f"{original.statistics} of"
    text = f"{port.statistics} of {port.rows}, the original's {whose} {original.rows}, {where}"
    fix = f"fit the scaler on {original.rows}"
    if not same:
        fix += f", and {FIXES[original.statistics]}"
    elif port.rows == OWN:
        fix = "mended with the split: the scaler is fitted on the rows that are trained on"
    return Cause("scaler_fitted_on_other_rows", text, fix=fix)


def _nearest(found: Sequence[tuple[Scaler, Array]], seen: Array) -> Scaler | None:
    """The scaler that made what a network sees; deviations of many rows are close to each other."""
    apart = [float(np.abs(made - seen).max()) for _, made in found]
    best = min(range(len(found)), key=apart.__getitem__, default=None)
    if best is None or apart[best] > ALIKE * (np.ptp(seen) or 1.0):
        return None
    return found[best][0]


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
    if (own >= 0).all() and not np.array_equal(np.sort(own), np.sort(train)):
        sets[OWN] = own
    for words, ids in sets.items():
        if len(ids) * pair.a.rows.inputs <= MOST_NUMBERS:
            yield words, pair.original.network_inputs(pair.a.rows.take(ids))
