"""The page of a check: verdict and place first, then every rung, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnist_mlp.parity.causes.catalogue_page import is_code
from mnist_mlp.parity.cost import Cost
from mnist_mlp.parity.outcome import NamedSide, Outcome
from mnist_mlp.report import portmap
from mnist_mlp.report.cost import shown_cost
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


def check_html(outcome: Outcome, *, cost: Cost | None = None, spec: Spec | None = None) -> str:
    """The HTML of a check: self-contained, without scripts. The same outcome gives the same text.

    Parameters
    ----------
    outcome : Outcome
    cost : Cost, optional
        Whole training runs. Their curves are on the page.
    spec : Spec, optional
        The specification that the port was judged by; none where two models judge each other. Its
        port map is on the page.
    """
    view: LadderView = ladder_view(CheckedPair(outcome))
    first = outcome.first_break
    return (
        environment()
        .get_template("check.html.j2")
        .render(
            judgement=judge_check(outcome),
            ladder=view,
            ladders=(view,),
            document="check.json",
            others=_others(view),
            cure=first.cause.fix if first is not None else "",
            cure_is_code=first is not None and is_code(first.cause.fix),
            cost=cost,
            shown_cost=shown_cost(cost) if cost is not None else None,
            layers=outcome.layers,
            port_map=portmap.port_map(spec) if spec is not None else (),
            spec_name=spec.name if spec is not None else "",
            percent=percent,
            count=count,
            small=small,
            listed=listed,
        )
    )


@dataclass(frozen=True)
class Further:
    """A difference after the first: what it is, the user's line, and the number of its card."""

    title: str
    line: str
    number: int


def _others(view: LadderView) -> tuple[Further, ...]:
    """Each once, however many rungs it breaks."""
    found: dict[tuple[str, str], Further] = {}
    for number, card in enumerate(view.breaks, start=1):
        line = f"{card.lines[0][1].file}:{card.lines[0][1].line}" if card.lines else ""
        found.setdefault((card.title, line), Further(card.title, line, number))
    return tuple(found.values())[1:]


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
            return Judgement("bad", "Not faithful", sentence, (cause_title(first),))
