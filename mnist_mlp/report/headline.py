"""The verdict in one sentence, and the reasons for it in one or two more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mnist_mlp.parity.causes.catalogue import catalogue
from mnist_mlp.parity.findings import UNKNOWN, Break
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.report.comparison import Pair
from mnist_mlp.report.gap import Case
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import count, listed, percent, small

Tone = Literal["good", "bad", "unsure", "plain"]

RUNG_NAMES = {
    "spec": "the specification",
    "data": "the data",
    "order": "the order of the rows",
    "init": "the initial weights",
    "forward": "the forward pass",
    "loss": "the loss",
    "gradient": "the gradient",
    "update": "the weight update",
    "trajectory": "the course of training",
    "metrics": "the metrics",
    "predictions": "the predictions",
    "report": "the classification report",
}

_MARKS = {"good": "✓", "bad": "✗", "unsure": "?", "plain": "○"}


@dataclass(frozen=True)
class Judgement:
    """`word` and `mark` are shown as a badge, and `sentence` as the first heading of the page."""

    tone: Tone
    word: str
    sentence: str
    reasons: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """A sign for the tone, for readers who cannot tell the colours apart."""
        return _MARKS[self.tone]


def judge(sides: Sequence[ShownRun], pairs: Sequence[Pair], cases: Sequence[Case]) -> Judgement:
    """The accuracy of one run, the verdict on two, or the worst verdict of several pairs."""
    if not pairs:
        return _single(sides[0], cases[0])
    judged = [judge_pair(pair) for pair in pairs]
    if len(judged) == 1:
        return judged[0]
    tones: tuple[Tone, ...] = ("bad", "plain", "unsure", "good")
    worst = min(judged, key=lambda one: tones.index(one.tone))
    same = [pair.b.label for pair, one in zip(pairs, judged, strict=True) if one.tone == worst.tone]
    first = sides[0].label
    sentence = {
        "good": f"Faithful: {listed(same)} trained as {first} did.",
        "bad": f"Not faithful: {listed(same)} and {first} are not the same training run.",
        "unsure": f"Undecided: {listed(same)} against {first}.",
        "plain": f"Not judged: {listed(same)} against {first}.",
    }[worst.tone]
    return Judgement(worst.tone, worst.word, sentence, tuple(one.sentence for one in judged))


def judge_pair(pair: Pair) -> Judgement:
    """The verdict on two runs. A verdict that is quoted from a file says so."""
    if pair.comparison is None:
        return _unjudged(pair)
    judged = _judged(pair, pair.comparison)
    if not pair.origin:
        return judged
    quoted = (
        f"This verdict is quoted from {pair.origin}. The two folders' predictions, reports, "
        f"digests and specifications do not contradict it. Only compare proves it, since it "
        f"replays the runs."
    )
    return replace(judged, reasons=(*judged.reasons, quoted))


def _judged(pair: Pair, outcome: Outcome) -> Judgement:
    a, b = pair.a.label, pair.b.label
    total, different = outcome.predictions.total, outcome.predictions.different
    agree = f"all {total:,} predictions agree"
    differ = f"{different:,} of {total:,} predictions differ"
    match outcome.verdict:
        case "identical":
            return Judgement(
                "good",
                "Identical",
                f"Faithful: {a} and {b} made the same training run; {agree}.",
                (f"{clean_rungs(outcome)} The classification reports are equal.",),
            )
        case "equivalent" if "permutation" in outcome.text:
            return Judgement(
                "good",
                "Equivalent",
                f"Faithful: {a} and {b} are equal up to the order of their hidden units.",
                (_sentence(agree if different == 0 else differ),),
            )
        case "equivalent":
            return Judgement(
                "good",
                "Equivalent",
                f"Faithful: {a} and {b} run the same algorithm; {differ}, by rounding alone.",
                (clean_rungs(outcome), *_beyond(outcome)),
            )
        case "inconclusive":
            return Judgement(
                "unsure",
                "Inconclusive",
                f"Undecided: it is not proved that {a} and {b} differ, nor that they agree.",
                (outcome.text, *_beyond(outcome)),
            )
        case "different":
            return _different(pair, outcome, differ)


def _different(pair: Pair, outcome: Outcome, differ: str) -> Judgement:
    a, b = pair.a.label, pair.b.label
    if not outcome.breaks:
        return Judgement(
            "bad", "Different", f"Not faithful: {a} and {b} are different runs.", (outcome.text,)
        )
    first = outcome.breaks[0]
    where = RUNG_NAMES.get(first.rung, first.rung)
    return Judgement(
        "bad",
        "Different",
        f"Not faithful: {a} and {b} first differ at {where}{when(first)}.",
        (f"{cause_title(first)} {_sentence(differ)}",),
    )


def _unjudged(pair: Pair) -> Judgement:
    a, b = pair.a.label, pair.b.label
    if pair.a.same_rows(pair.b):
        n, different = len(pair.a.predicted), pair.a.flipped(pair.b)
        what = (
            f"{different:,} of {n:,} predictions differ"
            if different
            else (f"all {n:,} predictions agree")
        )
    else:
        what = "they were tested on different rows"
    return Judgement(
        "plain",
        "Not judged",
        f"Not judged: {what}; how {a} and {b} trained has not been compared.",
        (
            "Equal results do not prove that a port is faithful, and different results do not "
            "prove the opposite. A comparison rung by rung decides.",
        ),
    )


def _single(side: ShownRun, case: Case) -> Judgement:
    n = len(side.predicted)
    right = int((side.predicted == side.evidence.y_true).sum())
    return Judgement(
        "plain",
        "One run",
        f"{side.label} classifies {percent(side.accuracy)} of the test rows correctly.",
        (f"{right:,} of {n:,} test rows are right. {case.sentence}",),
    )


def cause_title(item: Break) -> str:
    """One sentence on what broke, from the catalogue of causes."""
    if item.cause.name == UNKNOWN:
        return "The cause is not known."
    known = catalogue().get(item.cause.name)
    return known.title if known else item.cause.text or item.cause.name


def when(item: Break) -> str:
    """Batch, step and epoch of a break, to follow the name of its rung."""
    if item.batch:
        return f", on the {item.batch} batch"
    if item.step:
        return f", in step {item.step:,}" + (f" of epoch {item.epoch}" if item.epoch else "")
    return f", in epoch {item.epoch}" if item.epoch else ""


def clean_rungs(outcome: Outcome) -> str:
    """How many rungs are clean, where none is broken."""
    clean = sum(rung.status == "clean" for rung in outcome.rungs)
    if clean == len(outcome.rungs):
        return f"All {clean} rungs of the ladder are clean."
    return (
        f"{clean} of {count(len(outcome.rungs), 'rung')} of the ladder are clean, none is broken."
    )


def _beyond(outcome: Outcome) -> tuple[str, ...]:
    """Sentences on the float64 proof and the ensemble, if they were made."""
    said = []
    proof, chaos = outcome.proof, outcome.chaos
    if proof.max_abs_difference is not None and proof.bound is not None:
        said.append(
            f"Trained in float64, the final weights differ by {small(proof.max_abs_difference)} "
            f"(allowed {small(proof.bound)})."
        )
    if chaos and chaos.spread:
        spread = listed([f"{number:,}" for number in chaos.spread])
        said.append(
            f"In {chaos.backend} alone, changing the last digit of the initial weights changes "
            f"{spread} predictions."
        )
    return tuple(said)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
