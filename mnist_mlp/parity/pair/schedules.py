"""Two schedules of the learning rate, run alone over the whole run, and settings that follow the
loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.ports.pair_rows import RunLength
from mnist_mlp.reference import Array

Rates = Callable[..., Mapping[str, Array]]
"""`rates(at, interval=...)`: what a side uses in the updates `at`, without training."""

SAMPLES = 400
"""Updates that are looked at in one pass over a long run; two passes or three find the first that
differs."""

LONGEST = 40_000
"""Steps of a run that are compared at most; torch's schedules have to be asked step by step."""

SAME = 1e-6
"""Relative difference of two learning rates at most: Keras computes its own in float32."""

CAUSES = {
    ("changes", "constant"): "schedule_ignored",
    ("constant", "changes"): "undeclared_schedule",
    "step": "schedule_by_epoch",
    "epoch": "schedule_by_step",
}
"""By what each side does, and by the interval that makes the port's schedule the original's."""


@dataclass(frozen=True, eq=False)
class Schedules:
    """The learning rates of a whole run on both sides.

    `first` is the first update at which they differ (from 0), None if none does. `interval` is how
    often the port's schedule has to be asked to be the original's, if that is all. `seen` is how
    many updates there are.
    """

    a: Array
    b: Array
    at: Array
    words: tuple[str, str]
    length: RunLength
    first: int | None = None
    rates: tuple[float, float] = (0.0, 0.0)
    what: str = "learning rate"
    interval: str | None = None

    @property
    def cause(self) -> Cause:
        """What the difference is."""
        ours, theirs = self.words
        told = f"{self.rates[1]:.7g} instead of {self.rates[0]:.7g}"
        step = (self.first or 0) + 1
        text = f"{self.what} {told} at step {step}; {theirs} instead of {ours}"
        if self.interval is not None:
            name = CAUSES[self.interval]
        else:
            sides = tuple("constant" if _constant(x) else "changes" for x in (self.a, self.b))
            name = CAUSES.get(sides, "other_schedule")
        return Cause(name, text)

    @property
    def scaled(self) -> bool:
        """Whether one is the other times a constant: then it is the rate that differs."""
        if self.first is None:
            return False
        with np.errstate(all="ignore"):
            ratio = self.b / self.a
        return bool(np.isfinite(ratio).all() and _constant(ratio))

    def breaks(self) -> Iterator[Break]:
        """The difference, where no judged step shows it."""
        if self.first is None:
            return
        epoch = self.first // self.length.steps
        yield Break(
            side="b",
            rung="update",
            place=Place(epoch + 1, self.first + 1, None, self.what.replace(" ", "_")),
            got=f"{self.rates[1]:.9g}",
            expected=f"{self.rates[0]:.9g}",
            cause=self.cause,
        )


def _constant(rates: Array) -> bool:
    return bool(np.abs(rates - rates[0]).max() <= SAME * abs(rates[0]))


def compared(a: Rates, b: Rates, length: RunLength, words: tuple[str, str]) -> Schedules:
    """Both schedules over all steps of a run."""
    a, b = _asked_once(a), _asked_once(b)
    at = _spread(0, min(length.epochs * length.steps, LONGEST) - 1, length)
    whole = a(at), b(at)
    ours, theirs = (each["learning_rate"] for each in whole)
    found = Schedules(ours, theirs, at, words, length)
    for key, what in (("learning_rate", "learning rate"), ("momentum", "momentum")):
        if not all(key in each for each in whole):
            continue
        if key == "momentum" and all(_constant(each[key]) for each in whole):
            continue  # it is a setting, and no schedule
        first = _first(a, b, at, key, length)
        if first is None:
            continue
        rates = tuple(float(side([first])[key][0]) for side in (a, b))
        interval = _interval(b, at, ours) if key == "learning_rate" else None
        return Schedules(
            ours, theirs, at, words, length, first, (rates[0], rates[1]), what, interval
        )
    return found


def _asked_once(rates: Rates) -> Rates:
    """The same, without asking a side twice: it builds a model for each answer."""
    known: dict[tuple[bytes, str | None], Mapping[str, Array]] = {}

    def asked(at: Array | Sequence[int], *, interval: str | None = None) -> Mapping[str, Array]:
        key = np.asarray(at).tobytes(), interval
        if key not in known:
            known[key] = rates(at, interval=interval)
        return known[key]

    return asked


def _interval(b: Rates, at: Array, ours: Array) -> str | None:
    """How often the port's schedule would have to be asked, if that is all."""
    for interval in ("step", "epoch"):
        if not len(_apart(ours, b(at, interval=interval)["learning_rate"])):
            return interval
    return None


def _apart(a: Array, b: Array) -> Array:
    """Where two differ."""
    return np.flatnonzero(~(np.abs(a - b) <= SAME * np.abs(a)))


def _first(a: Rates, b: Rates, at: Array, key: str, length: RunLength) -> int | None:
    """The first update that differs, by looking closer at where it must be."""
    while True:
        apart = _apart(a(at)[key], b(at)[key])
        if not len(apart):
            return None
        here = int(apart[0])
        before = int(at[here - 1]) if here else int(at[0]) - 1
        if before + 1 >= at[here]:
            return int(at[here])
        at = _spread(before + 1, int(at[here]), length)


def _spread(first: int, last: int, length: RunLength) -> Array:
    """All updates of a range, or some of them: its ends, the first ones, and the first ones of
    epochs."""
    if last - first < SAMPLES:
        return np.arange(first, last + 1)
    epochs = np.arange(first - first % length.steps, last, length.steps)
    epochs = epochs[:: max(1, len(epochs) // (SAMPLES // 4))]
    parts = (
        np.arange(first, first + SAMPLES // 4),
        np.linspace(first, last, SAMPLES // 4).astype(int),
        epochs,
        epochs + 1,
    )
    found = np.unique(np.concatenate(parts))
    return found[(found >= first) & (found <= last)]


# --- What follows the loss ------------------------------------------------------------------------


WORDS = {
    "epochs": "epochs without progress",
    "min_delta": "smallest progress",
    "relative": "progress as a share of the best",
    "min_rate": "smallest rate",
}


def acting(
    settings: Mapping[str, Any] | None, lengths: Sequence[RunLength]
) -> Mapping[str, Any] | None:
    """Settings of what waits for epochs without progress; None if the run is too short for it."""
    if settings is None or any(length.guessed for length in lengths):
        return settings
    longest = max(length.epochs for length in lengths)
    # The first epoch is always progress, and after the last one nothing is left to change.
    return settings if settings["epochs"] < longest - 1 else None


def settings_break(
    a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, *, name: str, rung: str
) -> Break | None:
    """Two settings of one thing in one convention; None where they are the same."""
    if a is None and b is None:
        return None
    if a is None or b is None:
        whose = "the port" if a is None else "the original"
        text = f"only {whose} has it"
    else:
        told = [
            f"{WORDS.get(key, key)} {_short(b[key])} instead of {_short(a[key])}"
            for key in a
            if key != "best_weights"  # a script may load them after its training
            and not _same(key, a[key], b[key])
        ]
        if not told:
            return None
        text = ", ".join(told)
    return Break(side="b", rung=rung, place=Place(), cause=Cause(name, text))


def _same(key: str, a: Any, b: Any) -> bool:
    if key == "monitor":  # what a loop gives a schedule is not known
        return not (a and b) or _quantity(a) == _quantity(b)
    if isinstance(a, float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    return bool(a == b)


def _quantity(monitored: str) -> tuple[bool, str]:
    """Whether it is of validation, and what it is; the names are the user's own."""
    name = monitored.lower()
    known = next((what for what in ("acc", "loss") if what in name), name)
    return "val" in name, known


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def whole_words(schedules: Sequence[str]) -> str:
    """All schedules of a side."""
    return " and ".join(schedules) or "no schedule"
