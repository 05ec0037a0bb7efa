"""The page: collects all its parts and renders the template."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mnist_mlp.parity.causes.catalogue import Entry, catalogue
from mnist_mlp.parity.causes.catalogue_page import ABOUT_RUNGS, is_code
from mnist_mlp.parity.findings import RUNGS, UNKNOWN, Break
from mnist_mlp.parity.outcome import Outcome, Rung, blamed_lines, evidence_of
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.report import curves, digits, facts, gap, pictures, portmap, scores
from mnist_mlp.report.comparison import Pair
from mnist_mlp.report.headline import RUNG_NAMES, cause_title, judge
from mnist_mlp.report.matrix import matrix
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import count, listed, percent, small

if TYPE_CHECKING:
    from jinja2 import Environment

STATUS = {
    "clean": ("✓", "clean"),
    "broken": ("✗", "broken"),
    "noted": ("≈", "noted"),
    "not_exercised": ("–", "not exercised"),  # noqa: RUF001 - a dash is meant
}

MOST_BREAKS = 8
"""Breaks shown for a pair; `compare.json` has them all."""


@dataclass(frozen=True)
class RungLine:
    """A rung in the table; `width` is its margin in percent of the limit, for the bar."""

    name: str
    about: str
    status: str
    mark: str
    word: str
    text: str
    margin: str
    width: float


@dataclass(frozen=True)
class BreakCard:
    """A break with all its details."""

    side: str
    place: str
    title: str
    name: str
    value: str
    got: str
    expected: str
    size: str
    entry: Entry | None
    lines: tuple[tuple[str, UserLine], ...]
    fixes: tuple[tuple[str, str, bool], ...]


class Compared(Protocol):
    """Two sides and their comparison."""

    @property
    def comparison(self) -> Outcome | None:
        """None if they were not compared."""

    @property
    def names(self) -> Mapping[str, str]:
        """The labels of the sides `a` and `b` of the comparison."""


@dataclass(frozen=True)
class LadderView:
    """The rungs and breaks of one pair."""

    pair: Compared
    rungs: tuple[RungLine, ...]
    breaks: tuple[BreakCard, ...]
    command: str

    @property
    def more(self) -> int:
        """Number of breaks that are not shown."""
        found = self.pair.comparison
        return len(found.breaks) - len(self.breaks) if found else 0

    @property
    def summary(self) -> str:
        """The strip of rungs as text."""
        clean = sum(rung.status == "clean" for rung in self.rungs)
        broken = [rung.name for rung in self.rungs if rung.status == "broken"]
        text = f"{clean} of {count(len(self.rungs), 'rung')} clean"
        return f"{text}, broken: {listed(broken)}" if broken else text


def render(sides: Sequence[ShownRun], pairs: Sequence[Pair]) -> str:
    """The HTML of a report. The same sides and pairs give the same text in every process."""
    return environment().get_template("report.html.j2").render(context(sides, pairs))


def environment() -> Environment:
    """The templates; a value that is missing is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("mnist_mlp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def context(sides: Sequence[ShownRun], pairs: Sequence[Pair]) -> dict[str, Any]:
    """All values that the template uses."""
    first = sides[0]
    with_history = [side for side in sides if len(side.evidence.history)]
    cases = [gap.diagnose(side.evidence.history, classes=side.evidence.classes) for side in sides]
    headings = dict.fromkeys(
        heading for side in sides for heading in (side.evidence.heading, _note(side, sides))
    )
    return {
        "sides": sides,
        "judgement": judge(sides, pairs, cases),
        "headings": tuple(filter(None, headings)),
        "charted": with_history,
        "many_classes": first.evidence.classes > scores.LARGEST_MATRIX,
        "spec_name": listed(list(dict.fromkeys(side.spec.name for side in sides))),
        "network": "-".join(str(size) for size in first.spec.model.layer_sizes),
        "data_names": listed(list(dict.fromkeys(_data_name(side) for side in sides))),
        "document": "compare.json",
        "overview": matrix(sides, pairs),
        "ladders": tuple(_ladder(pair) for pair in pairs),
        "hero": _hero(with_history),
        "figures": _curves(with_history),
        "difference_texts": [
            curves.difference_text(with_history[0], side, quantity)
            for side in with_history[1:]
            for quantity in (curves.LOSS, curves.ACCURACY)
        ],
        "gap_figure": gap.draw(with_history, name="gap") if with_history else None,
        "gap_cases": gap.common(sides, cases),
        "gap_thresholds": gap.THRESHOLDS,
        "spec_facts": facts.spec_facts(sides),
        "data_facts": facts.data_facts(sides),
        "agreed": all(fact.shared for fact in facts.spec_facts(sides) + facts.data_facts(sides)),
        "run_facts": facts.run_facts(sides),
        "timing_facts": facts.timing_facts(sides),
        "lines": scores.report_lines(sides),
        "metrics": scores.METRICS,
        "matrices": scores.matrices(sides),
        "confusions": scores.confusions(sides),
        "gallery": digits.gallery(sides),
        "unmatched": [side.label for side in sides[1:] if not first.same_rows(side)],
        "weights": pictures.weights(sides),
        "weight_texts": [pictures.largest_difference(first, side) for side in sides[1:]],
        "port_map": portmap.port_map(first.spec),
        "percent": percent,
        "count": count,
        "small": small,
        "listed": listed,
    }


def _note(side: ShownRun, sides: Sequence[ShownRun]) -> str:
    """That these are not the final weights of a complete run; "" if they are."""
    note = side.network.note
    return f"{side.label}: {note}" if note and len(sides) > 1 else note


def _data_name(side: ShownRun) -> str:
    name = side.run.dataset.name
    return {"mnist": "MNIST", "idx": "IDX files"}.get(name, name)


def _hero(sides: Sequence[ShownRun]) -> Any:
    """The figure at the top of the page; None without a history."""
    if not sides:
        return None
    heights = (150, 70) if len(sides) > 1 else (220, 0)
    return curves.draw(
        sides, curves.ACCURACY, name="hero", training=len(sides) == 1, heights=heights
    )


def _curves(sides: Sequence[ShownRun]) -> tuple[Any, ...]:
    if not sides:
        return ()
    return tuple(
        curves.draw(sides, each, name=each.name) for each in (curves.LOSS, curves.ACCURACY)
    )


def ladder_view(pair: Compared, *, command: Sequence[str] = ()) -> LadderView:
    """The rungs and breaks of a pair; `command` makes the comparison if there is none."""
    outcome = pair.comparison
    return LadderView(
        pair=pair,
        rungs=_rungs(outcome.rungs) if outcome else (),
        breaks=tuple(_card(item, pair.names) for item in outcome.breaks[:MOST_BREAKS])
        if outcome
        else (),
        command=shlex.join(["python", "-m", "mnist_mlp", *command]),
    )


def _ladder(pair: Pair) -> LadderView:
    paths = [str(side.run.path) for side in (pair.a, pair.b)]
    unfinished = [str(side.run.path) for side in (pair.a, pair.b) if not side.run.is_complete]
    words = ["train", "--resume", unfinished[0]] if unfinished else ["compare", *paths]
    return ladder_view(pair, command=words)


def _rungs(rungs: Sequence[Rung]) -> tuple[RungLine, ...]:
    lines = []
    # In the order of RUNGS; unknown rungs (of a later version) come last.
    for rung in sorted(rungs, key=lambda r: RUNGS.index(r.name) if r.name in RUNGS else len(RUNGS)):
        mark, word = STATUS[rung.status]
        known = catalogue().get(rung.text)
        lines.append(
            RungLine(
                name=rung.name,
                about=ABOUT_RUNGS.get(rung.name, ""),
                status=rung.status,
                mark=mark,
                word=word,
                text=known.title if known else rung.text or _counted(rung),
                margin=""
                if rung.margin is None or rung.status == "broken"
                else percent(rung.margin, decimals=0),
                width=0.0 if rung.margin is None else round(min(100.0, 100 * rung.margin), 1),
            )
        )
    return tuple(lines)


def _counted(rung: Rung) -> str:
    return evidence_of(rung).strip() if rung.margin is None else ""


def _card(item: Break, names: Mapping[str, str]) -> BreakCard:
    place = [RUNG_NAMES.get(item.rung, item.rung)]
    if item.batch:
        place.append(f"{item.batch} batch")
    place += [
        f"{name} {value:,}"
        for name, value in (("epoch", item.epoch), ("step", item.step))
        if value  # 0 means before training, which the rung already says
    ]
    if item.layer is not None:
        place.append(f"layer {item.layer}")
    if item.tensor:
        place.append(item.tensor)
    known = catalogue().get(item.cause.name) if item.cause.name != UNKNOWN else None
    return BreakCard(
        side=names[item.side],
        place=", ".join(place),
        title=cause_title(item),
        name=item.cause.name,
        value=item.cause.value or "",
        got=item.got,
        expected=item.expected,
        size="" if item.size is None else f"{item.size:,.3g} roundings",
        entry=known,
        lines=tuple(blamed_lines(item)),
        fixes=_fixes(item, known),
    )


def _fixes(item: Break, known: Entry | None) -> tuple[tuple[str, str, bool], ...]:
    """Headings, cures, and whether a cure is a line of code: that of this break, if it has its own,
    and that of its cause in each framework."""
    pairs: list[tuple[str, str]] = []
    if known is not None and known.fix_keras == known.fix_torch:
        pairs.append(("Cure", known.fix_keras))
    elif known is not None:
        pairs += [("In Keras", known.fix_keras), ("In torch", known.fix_torch)]
    if item.cause.fix and item.cause.fix not in [fix for _, fix in pairs]:
        pairs.insert(0, ("Cure", item.cause.fix))
    return tuple((where, fix, is_code(fix)) for where, fix in pairs)
