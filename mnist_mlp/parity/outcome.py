"""The result of a comparison, as a value, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal, Self

from pydantic import (
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)

from mnist_mlp.errors import EXIT_DIFFERENT, EXIT_INCONCLUSIVE, EXIT_OK
from mnist_mlp.parity.findings import RUNGS, STEP_RUNGS, Break, Cause, Measured, Side, Value
from mnist_mlp.ports.lines import UserLine

SCHEMA_VERSION = 1

Verdict = Literal["identical", "equivalent", "different", "inconclusive"]

EXIT_CODES = {
    "identical": EXIT_OK,
    "equivalent": EXIT_OK,
    "different": EXIT_DIFFERENT,
    "inconclusive": EXIT_INCONCLUSIVE,
}


BUT_FOR_DATA = "Identical, but for the data"
"""How the text of a verdict begins that is `identical` in all that both sides have: only one of
them brings data, or they say which rows."""


class NamedSide(Value):
    """The label of a side, and the path or target it comes from."""

    label: str
    path: str


class Rung(Value):
    """One rung and its result. `text` says why, if it was not exercised.

    `margin` is the largest deviation as a share of what is allowed, if that was measured. If a rung
    allows no deviation, `compared` is the number of fields, tensors or rows compared. A clean rung
    has one of the two, since a rung on which nothing was compared is not clean.
    """

    name: str
    status: Literal["clean", "broken", "noted", "not_exercised"]
    margin: Measured | None = None
    compared: int | None = None
    text: str = ""

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if self.status == "not_exercised" and not self.text:
            raise ValueError("a rung that was not exercised needs a reason in its text")
        if self.status == "clean":
            if self.margin is None and not self.compared:
                raise ValueError(f"rung {self.name} is clean, but nothing was measured or compared")
            if self.margin is not None and not self.margin <= 1:
                raise ValueError(f"rung {self.name} is clean at {self.margin:g} of what is allowed")
        return self


def clean(name: str, margin: float | None, compared: int | None, text: str = "") -> Rung:
    """A rung without a break: clean if there is evidence for it, else not exercised."""
    if margin is not None and not margin <= 1:
        text = f"{margin:.2g} of what rounding allows, which a coarser arithmetic hides"
        return Rung(name=name, status="not_exercised", margin=margin, text=text)
    if margin is None and not compared:
        return Rung(name=name, status="not_exercised", text="nothing was compared")
    return Rung(name=name, status="clean", margin=margin, compared=compared, text=text)


class Predictions(Value):
    """The number of test rows, and of those for which the sides predict different classes."""

    total: int = 0
    different: int = 0


class ShownLayer(Value):
    """A layer of one side: its name and kind, its settings as text, and the user's line.

    `output_shape` is that of its result without the batch (`28x28x6`), where it is known.
    """

    name: str
    kind: str
    settings: Mapping[str, str] = {}
    output_shape: str = ""
    line: UserLine | None = None


class LayerRow(Value):
    """A layer of the original and its counterpart in the port; None where there is none.

    `differing` are the settings that both have with other values; `kind` may be among them.
    """

    a: ShownLayer | None = None
    b: ShownLayer | None = None
    differing: tuple[str, ...] = ()


class Proof(Value):
    """The float64 proof: the largest difference of the final weights, and its allowed `bound`.

    `further` is the side whose weights are further from those of the reference.
    """

    status: Literal["passed", "failed", "not_run", "unavailable"]
    max_abs_difference: Measured | None = None
    bound: Measured | None = None
    reason: str = ""
    further: Side | None = None


class Chaos(Value):
    """The number of predictions that change within one framework if the weights start one ulp away.

    `spread` holds that number for each run of the ensemble. The two sides predict `different` rows
    differently; `explained` of these changed in the ensemble too. `margin` is the largest distance
    between the two best logits of those rows.
    """

    backend: str
    spread: tuple[int, ...]
    different: int
    explained: int
    margin: Measured | None


class Outcome(Value):
    """The complete result of a comparison.

    `document` writes it as JSON, and `Outcome.model_validate` reads such a document back. In JSON
    the rungs are a mapping from their names. `layers` are those of two models side by side, in the
    original's order of execution; two runs have none.
    """

    verdict: Verdict
    text: str
    sides: dict[Side, NamedSide]
    breaks: tuple[Break, ...] = ()
    rungs: tuple[Rung, ...]
    noted: tuple[Cause, ...] = ()
    not_exercised: tuple[str, ...] = ()
    predictions: Predictions = Predictions()
    report_identical: bool | None = None
    proof: Proof = Proof(status="not_run")
    chaos: Chaos | None = None
    layers: tuple[LayerRow, ...] = ()

    @property
    def first_break(self) -> Break | None:
        """The break that comes first; None if nothing broke."""
        return self.breaks[0] if self.breaks else None

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 (agree), 1 (different) or 6 (inconclusive)."""
        return EXIT_CODES[self.verdict]

    @property
    def headline(self) -> str:
        """The verdict for a terminal; one that leaves the data out says so."""
        if self.text.startswith(BUT_FOR_DATA):
            return BUT_FOR_DATA.upper()
        return self.verdict.upper()

    def _repr_html_(self) -> str:
        """How a notebook shows it: the text for a terminal, its first line in bold."""
        first, _, rest = as_text(self).partition("\n")
        return f"<pre><b>{escape(first)}</b>\n{escape(rest)}</pre>"

    def document(self) -> dict[str, Any]:
        """The result as one document of strict JSON."""
        content = self.model_dump(mode="json")
        first = content["breaks"][0] if content["breaks"] else None
        cause = first["cause"] if first else None
        return {"schema_version": SCHEMA_VERSION, **content, "first_break": first, "cause": cause}

    @model_validator(mode="after")
    def _verdict_follows_from_rungs(self) -> Self:
        broken = {rung.name for rung in self.rungs if rung.status == "broken"}
        if self.verdict != "different" and (broken or self.breaks):
            raise ValueError(f"the verdict is {self.verdict}, but something broke")
        unexplained = broken - {item.rung for item in self.breaks}
        if unexplained:
            raise ValueError(f"broken without a break: {', '.join(sorted(unexplained))}")
        if self.verdict == "identical":
            needed = set(STEP_RUNGS)
            if self.text.startswith(BUT_FOR_DATA):
                needed -= {"data"}
            unseen = [
                r.name for r in self.rungs if r.status == "not_exercised" and r.name in needed
            ]
            if unseen:
                raise ValueError(f"the verdict is identical, but {', '.join(unseen)} were not seen")
        return self

    @field_validator("sides")
    @classmethod
    def _two(cls, sides: dict[Side, NamedSide]) -> dict[Side, NamedSide]:
        if len(sides) != 2:
            raise ValueError("expected the sides a and b")
        return sides

    @field_validator("rungs", mode="before")
    @classmethod
    def _from_mapping(cls, rungs: Any) -> Any:
        if not isinstance(rungs, dict):
            return rungs
        return [
            {"name": n, **rung} if isinstance(rung, dict) else rung for n, rung in rungs.items()
        ]

    @field_serializer("rungs", mode="wrap")
    def _by_name(
        self, rungs: tuple[Rung, ...], dump: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        return {rung.pop("name"): rung for rung in dump(rungs)}


def ordered(breaks: Sequence[Break]) -> tuple[Break, ...]:
    """Breaks in the order in which they take effect in a training run.

    First come those before training: specification, data, order, initial weights. Then come the
    steps, and within a step the rungs; after all steps the stress batch and the rungs of whole
    runs.
    """

    def key(item: Break) -> tuple[bool, int, int, str]:
        rung = RUNGS.index(item.rung)
        late = rung >= RUNGS.index("trajectory") or item.batch == "stress"
        return (late, item.step or 0, rung, item.side)

    return tuple(sorted(breaks, key=key))


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome that decides the exit code of several comparisons."""
    # From worst to best: one proven difference outweighs all that agrees.
    order = ("different", "inconclusive", "equivalent", "identical")
    return min(outcomes, key=lambda outcome: order.index(outcome.verdict))


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The document of one comparison, or of several that compare the first run with each other."""
    if len(outcomes) == 1:
        return outcomes[0].document()
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": worst(outcomes).verdict,
        "comparisons": [outcome.document() for outcome in outcomes],
    }


def as_text(outcome: Outcome) -> str:
    """Text for a terminal: verdict, breaks, one line for each rung, and what was not exercised."""
    a, b = outcome.sides["a"].label, outcome.sides["b"].label
    lines = [f"{a} (a) against {b} (b): {outcome.headline}", outcome.text, ""]
    for item in outcome.breaks:
        lines += [break_text(item, outcome.sides), ""]
    width = max(len(rung.name) for rung in outcome.rungs)
    for rung in outcome.rungs:
        line = f"  {rung.name:<{width}}  {rung.status:<14}{rung.text or evidence_of(rung)}"
        lines.append(line.rstrip())
    if outcome.chaos:
        lines += ["", _chaos(outcome.chaos)]
    if outcome.proof.status in ("passed", "failed"):
        gap, bound = outcome.proof.max_abs_difference, outcome.proof.bound
        measured = gap is not None and bound is not None
        apart = f"{gap:.2g} apart, allowed {bound:.2g}" if measured else "not finite"
        lines += ["", f"float64 proof {outcome.proof.status}: final weights {apart}"]
    lines += ["", *(f"noted: {_named(cause)}" for cause in outcome.noted)]
    if outcome.not_exercised:
        lines += ["not exercised:", *(f"  - {what}" for what in outcome.not_exercised)]
    return "\n".join(lines).rstrip()


def break_text(item: Break, sides: Mapping[Side, NamedSide]) -> str:
    """One break as text of a few lines."""
    label = sides[item.side].label
    lines = [f"{label} ({item.side}) breaks at {place_text(item)}"]
    lines += [f"  {whose}: {line}" for whose, line in blamed_lines(item)]
    if item.got or item.expected:
        size = "" if item.size is None else f"   ({item.size:.3g} roundings)"
        lines.append(f"  got {item.got}, expected {item.expected}{size}")
    lines.append(f"  cause: {_named(item.cause)}")
    if item.cause.text:
        lines.append(f"  {item.cause.text}")
    if item.cause.fix:
        lines.append(f"  cure:  {item.cause.fix}")
    return "\n".join(lines)


def blamed_lines(item: Break) -> list[tuple[str, UserLine]]:
    """The user's lines to blame, the port's first, with words for whose they are."""
    words: dict[Side, str] = {"b": "in the port", "a": "in the original"}
    return [
        (f"{whose}, after" if item.lines[side].role == "before" else whose, item.lines[side])
        for side, whose in words.items()
        if side in item.lines
    ]


def place_text(item: Break) -> str:
    """Rung, epoch, step, layer and tensor of a break."""
    place = [f"rung {item.rung}"]
    if item.batch:
        place.append(f"{item.batch} batch")
    place += [
        f"{name} {value}"
        for name, value in (("epoch", item.epoch), ("step", item.step), ("layer", item.layer))
        if value is not None
    ]
    if item.tensor:
        place.append(item.tensor)
    return ", ".join(place)


UNITS = {
    "spec": "fields",
    "data": "digests",
    "order": "rows",
    "init": "tensors",
    "trajectory": "epochs",
    "metrics": "numbers",
    "predictions": "rows",
    "report": "numbers",
}
"""What a rung counts where it allows no deviation."""


def evidence_of(rung: Rung) -> str:
    """What a rung's status rests on: its margin, or how much was compared."""
    if rung.margin is not None:
        return f"{rung.margin:8.2g} of what rounding allows"
    if not rung.compared:
        return ""
    return f"{rung.compared:>8,} {UNITS.get(rung.name, 'values')} compared"


def _chaos(chaos: Chaos) -> str:
    spread = ", ".join(str(count) for count in chaos.spread)
    text = (
        f"{chaos.different} predictions differ; in {chaos.backend} alone, changing the last digit "
        f"of the initial weights changes {spread}. {chaos.explained} of the differing ones are "
        f"among these"
    )
    if chaos.margin is None:
        return f"{text}."
    return f"{text}; their two best logits are at most {chaos.margin:.2g} apart."


def _named(cause: Cause) -> str:
    return cause.name + (f" ({cause.value})" if cause.value else "")
