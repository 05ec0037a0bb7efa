"""The page of a check: verdict and place first, then every rung, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnist_mlp.parity.outcome import NamedSide, Outcome
from mnist_mlp.report import portmap
from mnist_mlp.report.headline import RUNG_NAMES, Judgement, cause_title, clean_rungs, when
from mnist_mlp.report.page import LadderView, environment, ladder_view
from mnist_mlp.report.words import count, listed, percent, small
from mnist_mlp.spec import Spec


@dataclass(frozen=True)
class CheckedPair:
    """An original, or a specification, and a port."""

    comparison: Outcome
    problem: str = ""

    @property
    def a(self) -> NamedSide:
        """What the port is judged by."""
        return self.comparison.sides["a"]

    @property
    def b(self) -> NamedSide:
        """The port."""
        return self.comparison.sides["b"]

    @property
    def names(self) -> Mapping[str, str]:
        """The labels of both sides."""
        return {"a": self.a.label, "b": self.b.label}


def check_html(
    outcome: Outcome, *, cost: Mapping[str, float] | None = None, spec: Spec | None = None
) -> str:
    """The HTML of a check: self-contained, without scripts. The same outcome gives the same text.

    Parameters
    ----------
    outcome : Outcome
    cost : mapping, optional
        Accuracies from the port's own initial weights (`as_it_is`) and from the specified ones
        (`with_specified_start`).
    spec : Spec, optional
        The specification that the port was judged by; none where two models judge each other. Its
        port map is on the page.
    """
    view: LadderView = ladder_view(CheckedPair(outcome))
    return (
        environment()
        .get_template("check.html.j2")
        .render(
            judgement=judge_check(outcome),
            ladder=view,
            ladders=(view,),
            document="check.json",
            cost=cost,
            layers=outcome.layers,
            port_map=portmap.port_map(spec) if spec is not None else (),
            spec_name=spec.name if spec is not None else "",
            percent=percent,
            count=count,
            small=small,
            listed=listed,
        )
    )


def judge_check(outcome: Outcome) -> Judgement:
    """The verdict on a port in one sentence, and its reasons."""
    a, b = outcome.sides["a"].label, outcome.sides["b"].label
    match outcome.verdict:
        case "identical" | "equivalent":
            word, sentence = "Faithful", f"Faithful: {b} trains as {a} does."
            return Judgement("good", word, sentence, (outcome.text, clean_rungs(outcome)))
        case "inconclusive":
            sentence = f"Undecided: it is not known whether {b} trains as {a} does."
            return Judgement("unsure", "Undecided", sentence, (outcome.text,))
        case "different":
            first = outcome.first_break
            if first is None:
                sentence = f"Not faithful: {b} trains differently than {a}."
                return Judgement("bad", "Not faithful", sentence, (outcome.text,))
            where = RUNG_NAMES.get(first.rung, first.rung)
            sentence = f"Not faithful: {b} first differs from {a} at {where}{when(first)}."
            reasons = [cause_title(first)]
            if first.cause.fix:
                reasons.append(f"What to write instead: {first.cause.fix}")
            return Judgement("bad", "Not faithful", sentence, tuple(reasons))
