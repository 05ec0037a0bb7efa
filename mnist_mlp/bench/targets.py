"""The speed targets, relative to scripts that a user would write without us."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mnist_mlp.bench.answers import COMPARE_RUNS, SCRIPTS, TRAIN_KERAS, TRAIN_TORCH
from mnist_mlp.bench.cases import COMMAND, LIMIT, TRAINING, with_threads
from mnist_mlp.bench.record import Document
from mnist_mlp.bench.results import aligned
from mnist_mlp.bench.statistics import Ratio, epoch_medians, phase_values, ratio

_KERAS, _TORCH = "keras/cpu/fast", "torch/cpu/fast"
_LOOP = "peer/torch_loop" + TRAINING


@dataclass(frozen=True)
class Target:
    """A demand on `above` / `below`: the ratio of median steady epochs, or of whole commands.

    `below` may name several cases, as in "a + b": the demand is then on their sum. Without `below`,
    the demand is on the seconds themselves; such a target is listed only if it was measured.
    Exactly one of `at_least` and `at_most` is set.
    """

    words: str
    above: str
    below: str = ""
    at_least: float | None = None
    at_most: float | None = None
    whole: bool = False

    @property
    def demand(self) -> str:
        """The demand as text."""
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def reached(self, value: float) -> bool:
        """Whether a ratio meets the demand."""
        if self.at_least is not None:
            return value >= self.at_least
        assert self.at_most is not None
        return value <= self.at_most


TARGETS = (
    Target("tutorial script / Keras fast, an epoch", "peer/tutorial_keras", _KERAS, at_least=4),
    Target("textbook port / Lightning fast, an epoch", "peer/textbook_port", _TORCH, at_least=4),
    Target("Keras fast / bare torch loop, training alone", _KERAS + TRAINING, _LOOP, at_most=0.8),
    Target("Lightning fast / torch loop, training alone", _TORCH + TRAINING, _LOOP, at_most=1),
    Target("Keras fast / MLPClassifier, an epoch", _KERAS, "peer/sklearn_mlp", at_most=1),
    Target("Lightning fast / MLPClassifier, an epoch", _TORCH, "peer/sklearn_mlp", at_most=1),
    Target(
        "tutorial script / Keras command, shell to report",
        "peer/tutorial_keras",
        _KERAS + COMMAND,
        at_least=1.5,
        whole=True,
    ),
    Target(
        "textbook port / Lightning command, shell to report",
        "peer/textbook_port",
        _TORCH + COMMAND,
        at_least=1.5,
        whole=True,
    ),
    Target("Keras fast / sgemm, training alone", _KERAS + TRAINING, LIMIT, at_most=2.5),
    Target("Lightning fast / sgemm, training alone", _TORCH + TRAINING, LIMIT, at_most=3.3),
    Target("Keras on a GPU, training alone, seconds", "keras/gpu/fast/training", at_most=0.025),
    Target("Lightning on a GPU, training alone, seconds", "torch/gpu/fast/training", at_most=0.025),
)


_SCRIPTS = "peer/tutorial_keras + peer/textbook_port"
_TRAININGS = f"{TRAIN_KERAS} + {TRAIN_TORCH}"

ANSWER_TARGETS = (
    Target("check a port / its training script", "answer/check-port", SCRIPTS[1], at_most=1),
    Target("check a pair / both training scripts", "answer/check-pair", _SCRIPTS, at_most=1),
    Target("compare two runs / their trainings", COMPARE_RUNS, _TRAININGS, at_most=0.5),
    Target("train and compare / two trainings", "answer/compare", _TRAININGS, at_most=1.2),
    Target("train Keras / the tutorial script", TRAIN_KERAS, SCRIPTS[0], at_most=0.5),
    Target("train Lightning / the textbook script", TRAIN_TORCH, SCRIPTS[1], at_most=0.5),
)
"""Targets of a sitting with `--answers`: whole processes, from the shell to the answer."""


def thread_targets(threads: int) -> tuple[Target, ...]:
    """Targets of a sitting with `--equal-threads`: an epoch, both sides with so many threads."""
    pairs = (
        ("Keras fast / the tutorial's fit", _KERAS, "peer/tutorial_keras", 0.25),
        ("Lightning fast / textbook port", _TORCH, "peer/textbook_port", 0.25),
        ("Lightning fast / MLPClassifier", _TORCH, "peer/sklearn_mlp", 1.0),
    )
    end = with_threads(threads)
    return tuple(
        Target(f"{words}, threads: {threads}", above + end, below + end, at_most=most)
        for words, above, below, most in pairs
    )


def targets_of(document: Document) -> tuple[Target, ...]:
    """The targets of a sitting."""
    if document.kind == "answers":
        return ANSWER_TARGETS
    if document.kind == "threads":
        numbers = {case.threads for case in document.cases if case.threads is not None}
        return tuple(target for number in sorted(numbers) for target in thread_targets(number))
    return TARGETS


@dataclass(frozen=True)
class TargetResult:
    """A target and the measured ratio; `ratio` is None if one of the two cases was not measured."""

    target: Target
    ratio: Ratio | None

    @property
    def verdict(self) -> str:
        """`reached`, `not reached` or `not measured`; says if the result is within the noise."""
        if self.ratio is None:
            return "not measured"
        verdict = "reached" if self.target.reached(self.ratio.value) else "not reached"
        edge = self.target.at_least if self.target.at_least is not None else self.target.at_most
        if self.ratio.low is None:
            return f"{verdict} (too few processes for an interval)"
        if edge is not None and self.ratio.holds(edge):
            return f"{verdict} (within the noise)"
        return verdict


def judge(document: Document) -> list[TargetResult]:
    """Judge every target by a sitting."""
    judged = []
    answers = document.kind == "answers"
    for target in targets_of(document):
        whole = answers or target.whole
        above, below = (
            _values(document, keys, whole=whole) for keys in (target.above, target.below)
        )
        if not target.below:
            if not above:
                continue
            below = dict.fromkeys(above, 1.0)
        measured = ratio(above, below) if above and below else None
        judged.append(TargetResult(target, measured))
    return judged


def _values(document: Document, keys: str, *, whole: bool) -> dict[int, float]:
    """Seconds by round of a case, or of several added up: the rounds in which all have a value."""
    found = [
        phase_values(document.of(key), "process_s") if whole else epoch_medians(document.of(key))
        for key in keys.split(" + ")
    ]
    rounds = set.intersection(*(set(values) for values in found))
    return {number: sum(values[number] for values in found) for number in sorted(rounds)}


def as_text(judged: list[TargetResult]) -> str:
    """The targets as a table."""
    cells = [("target", "demand", "ratio", "95 % interval", "verdict")]
    for each in judged:
        measured = each.ratio
        interval = ""
        if measured is not None and measured.low is not None:
            interval = f"{measured.low:.3g} .. {measured.high:.3g}"
        cells.append(
            (
                each.target.words,
                each.target.demand,
                "" if measured is None else f"{measured.value:.3g}",
                interval,
                each.verdict,
            )
        )
    return aligned(cells, words_last=True)


def as_data(judged: list[TargetResult]) -> list[dict[str, Any]]:
    """The targets for programs."""
    return [
        {
            **asdict(each.target),
            "ratio": None if each.ratio is None else asdict(each.ratio),
            "verdict": each.verdict,
        }
        for each in judged
    ]
