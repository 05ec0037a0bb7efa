"""Do two sides reach the same accuracy? Two one-sided tests (TOST) of their difference.

That a t test finds no difference proves nothing: with few runs it never does. Here the question is
turned round (Schuirmann, 1987). Two sides are *equivalent* if both hypotheses "b is worse by the
margin or more" and "b is better by the margin or more" are rejected. They *differ* if it is shown
that their difference is larger than the margin. Everything else is *undecided*: more runs are
needed.

Runs with the same seed have the same training and test rows. So their differences are tested, which
are free of what the split does to both; runs that share nothing are tested by Welch's t test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.errors import EXIT_DIFFERENT, EXIT_INCONCLUSIVE, EXIT_OK

ALPHA = 0.05
"""Rate of wrong verdicts, of all comparisons of a sweep together."""
POWER = 0.8
"""The chance of a verdict for which the number of runs is computed."""
FEWEST = 3
"""Runs of each side below which there is no verdict: a deviation of two values says nothing."""
MOST_RUNS = 1_000_000
_ROUNDING = 1e-12

Decision = Literal["equivalent", "different", "undecided"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The result for two sides.

    Parameters
    ----------
    a, b : str
        The sides; `group` is what both share, such as `batch_size=64`.
    paired : bool
        Whether the runs were compared seed by seed.
    runs : int
        Pairs of runs; unpaired, the runs of the smaller side.
    missing : int
        Runs of either side that failed, or whose partner did.
    difference : float
        Mean accuracy of `b` minus that of `a`.
    low, high : float
        The 90 % interval of the difference: that of two one-sided tests at 5 %.
    p_equivalent, p_different : float
        Of both tests; adjusted for several comparisons after Holm.
    power : float
        The chance that as many runs show equivalence where there is no difference at all.
    needed : int, optional
        Runs of each side that show what was observed with a chance of 80 %; None if no number of
        runs does, since the difference is the margin.
    """

    a: str
    b: str
    group: str
    margin: float
    paired: bool
    runs: int
    missing: int
    mean_a: float
    mean_b: float
    difference: float
    deviation: float
    low: float
    high: float
    p_equivalent: float
    p_different: float
    power: float
    needed: int | None
    decision: Decision = "undecided"


def compare(
    a: Values,
    b: Values,
    *,
    names: tuple[str, str],
    margin: float,
    paired: bool,
    group: str = "",
    missing: int = 0,
    of: int = 1,
) -> Comparison:
    """Test the accuracies of two sides; the decision is left to `decide`.

    Parameters
    ----------
    a, b : float64 (n,), (m,)
        Accuracies, 0 to 1; paired, those of the same seed stand in the same place.
    margin : float
        The largest difference that is no difference in practice.
    of : int
        Number of comparisons that are decided together. The power and the number of needed runs are
        those of the strictest level that Holm's method can ask for.
    """
    if len(a) < FEWEST or len(b) < FEWEST:
        mean_a, mean_b = (float(x.mean()) if len(x) else 0.0 for x in (a, b))
        return Comparison(
            *(*names, group, margin, paired, min(len(a), len(b)), missing, mean_a, mean_b),
            *(mean_b - mean_a, 0.0, -1.0, 1.0, 1.0, 1.0, 0.0, None),  # nothing is known
        )
    n = min(len(a), len(b))
    difference = float(b.mean() - a.mean())
    deviation = _deviation(a, b, paired=paired)
    tests = two_tests(a, b, margin=margin, paired=paired, deviation=deviation)
    return Comparison(
        *names,
        group=group,
        margin=margin,
        paired=paired,
        runs=n,
        missing=missing,
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=difference,
        deviation=deviation,
        **tests,
        power=power(n, deviation=deviation, margin=margin, alpha=ALPHA / of),
        needed=_needed(difference, deviation=deviation, margin=margin, alpha=ALPHA / of),
    )


def _deviation(a: Values, b: Values, *, paired: bool) -> float:
    """Standard deviation of one difference; 0 if only roundings are left of it."""
    if paired:
        deviation = float((b - a).std(ddof=1))
    else:  # that of one sample whose mean is as uncertain as the difference of the two means
        n = min(len(a), len(b))
        deviation = sqrt(n * sum(float(x.var(ddof=1)) / len(x) for x in (a, b)))
    return 0.0 if deviation < _ROUNDING else deviation


class _Tests(TypedDict):
    low: float
    high: float
    p_equivalent: float
    p_different: float


def two_tests(a: Values, b: Values, *, margin: float, paired: bool, deviation: float) -> _Tests:
    """Interval of the difference (`low`, `high`), and `p_equivalent` and `p_different`.

    `deviation` is that of one difference; 0 if the runs repeat each other.
    """
    from scipy.stats import ttest_1samp, ttest_ind

    def test(shift: float, alternative: str) -> Any:
        if paired:
            return ttest_1samp(b - a, shift, alternative=alternative)
        return ttest_ind(b - shift, a, equal_var=False, alternative=alternative)

    if deviation == 0:  # the runs repeat each other, and nothing is left to chance
        difference = float(b.mean() - a.mean())
        within, beyond = abs(difference) < margin, abs(difference) > margin
        return {
            "low": difference,
            "high": difference,
            "p_equivalent": float(not within),
            "p_different": float(not beyond),
        }
    low, high = test(0, "two-sided").confidence_interval(1 - 2 * ALPHA)
    beyond = min(test(margin, "greater").pvalue, test(-margin, "less").pvalue)
    return {
        "low": float(low),
        "high": float(high),
        "p_equivalent": float(max(test(-margin, "greater").pvalue, test(margin, "less").pvalue)),
        "p_different": min(1.0, 2 * float(beyond)),  # it may lie beyond either end
    }


def decide(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjust the probabilities of all comparisons of a sweep, and decide each."""
    equivalent = holm([each.p_equivalent for each in comparisons])
    different = holm([each.p_different for each in comparisons])
    decided = []
    for each, p, q in zip(comparisons, equivalent, different, strict=True):
        decision: Decision = "undecided"
        if q < ALPHA:
            decision = "different"
        elif p < ALPHA and not each.missing:  # what failed could have been worse
            decision = "equivalent"
        decided.append(replace(each, p_equivalent=p, p_different=q, decision=decision))
    return decided


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities adjusted for their number (Holm, 1979), in the order given.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = least
    return adjusted


def power(
    n: int, *, deviation: float, margin: float, difference: float = 0.0, alpha: float = ALPHA
) -> float:
    """The chance that `n` differences show equivalence.

    Parameters
    ----------
    deviation : float
        Of one difference.
    difference : float
        The true one.
    """
    from scipy.special import ndtr
    from scipy.stats import chi2

    if deviation == 0:
        return float(abs(difference) < margin)
    # The deviation that a test finds varies. This is the mean over its distribution, by 500 equally
    # likely values; the usual formula takes it for known, and is too high for few runs.
    freedom = n - 1
    found = deviation * np.sqrt(chi2.ppf((np.arange(500) + 0.5) / 500, freedom) / freedom)
    error = deviation / sqrt(n)
    room = margin - _t(1 - alpha, freedom) * found / sqrt(n)
    within = ndtr((room - difference) / error) - ndtr((-room - difference) / error)
    return float(np.maximum(within, 0).mean())


def _needed(difference: float, *, deviation: float, margin: float, alpha: float) -> int | None:
    """Runs that show what was observed: equivalence, or a difference beyond the margin."""

    def enough(n: int) -> bool:
        if abs(difference) < margin:
            chance = power(
                n, deviation=deviation, margin=margin, difference=difference, alpha=alpha
            )
        else:
            chance = _power_of_difference(n, abs(difference) - margin, deviation, alpha)
        return chance >= POWER

    if abs(difference) == margin or not enough(MOST_RUNS):
        return None
    low, high = FEWEST - 1, MOST_RUNS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power_of_difference(n: int, beyond: float, deviation: float, alpha: float) -> float:
    from scipy.stats import nct

    if deviation == 0:
        return 1.0
    t = _t(1 - alpha / 2, n - 1)
    return float(nct.sf(t, n - 1, beyond * sqrt(n) / deviation))


def _t(probability: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def exit_code_of(comparisons: Sequence[Comparison]) -> int:
    """1 if two sides differ, else 6 if anything is undecided, else 0."""
    decisions = {each.decision for each in comparisons}
    if "different" in decisions:
        return EXIT_DIFFERENT
    return EXIT_INCONCLUSIVE if "undecided" in decisions else EXIT_OK


def document(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The comparisons as JSON objects."""
    return [asdict(each) for each in comparisons]


def as_text(comparisons: Sequence[Comparison]) -> str:
    """The verdicts in words."""
    lines = "\n\n".join(_in_words(each) for each in comparisons)
    several = len(comparisons) > 1
    note = (
        f"\n\nOf {len(comparisons)} comparisons, one is wrongly called equivalent in at most 5 % "
        f"of such sweeps, and likewise different (Holm)."
    )
    return lines + (note if several else "")


def _in_words(each: Comparison) -> str:
    where = f" ({each.group})" if each.group else ""
    head = f"{each.a} against {each.b}{where}: {each.decision.upper()}"
    kind = "pairs of runs with one seed" if each.paired else "runs of each side"
    if each.runs < FEWEST:
        return f"{head}\n  {each.runs} {kind}; a verdict needs at least {FEWEST}"
    lines = [
        head,
        f"  accuracy {each.mean_a:.4f} and {each.mean_b:.4f} on average, in {each.runs} {kind}",
        f"  the difference is {each.difference:+.4f}, with 90 % confidence from {each.low:+.4f} to "
        f"{each.high:+.4f}; the margin is {each.margin:g}",
        f"  p = {_p(each.p_equivalent)} if it were as large as the margin, "
        f"p = {_p(each.p_different)} if it were within it",
        f"  {each.runs} {kind} show equivalence in {each.power:.0%} of the cases where there is no "
        f"difference",
    ]
    if each.decision == "undecided" and each.missing == 0:
        lines.append(
            f"  {each.needed:,} would be needed for a verdict, with a chance of {POWER:.0%}"
            if each.needed
            else "  the difference is so close to the margin that no number of runs would do"
        )
    if each.missing:
        lines.append(
            f"  {each.missing} more failed and are not counted, so this is not called equivalent"
        )
    return "\n".join(lines)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{max(value, 1e-99):.0e}"
