"""The outcome as a value, as strict JSON and as text."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_losses as wrong
from finished_runs import compared, trained
from numpy_side import NumpySide
from small_problems import look_at, spec_of

from mnist_mlp.parity.findings import RUNGS, Break, Cause, Place
from mnist_mlp.parity.outcome import (
    EXIT_CODES,
    Chaos,
    NamedSide,
    Outcome,
    Predictions,
    Proof,
    Rung,
    as_text,
    clean,
    document,
    evidence_of,
    ordered,
    place_text,
    worst,
)
from mnist_mlp.ports.lines import UserLine

BREAK_KEYS = {
    "rung", "epoch", "step", "batch", "layer", "tensor", "side", "size", "got", "expected", "cause",
    "lines",
}  # fmt: skip
OUTCOME_KEYS = {
    "schema_version", "verdict", "breaks", "first_break", "cause", "rungs", "not_exercised",
    "predictions", "report_identical", "proof",
}  # fmt: skip


def a_break(rung: str, step: int | None, *, side: Any = "a", **more: Any) -> Break:
    where = {key: more.pop(key, None) for key in ("epoch", "layer", "tensor")}
    return Break(side=side, rung=rung, place=Place(step=step, **where), **more)


def outcome(verdict: Any = "identical", **more: Any) -> Outcome:
    broken = {item.rung for item in more.get("breaks", ())}
    rungs = tuple(
        Rung(name=name, status="broken", text="cause")
        if name in broken
        else Rung(name=name, status="clean", margin=0.25)
        for name in RUNGS
    )
    return Outcome(
        verdict=verdict,
        text="text",
        sides={"a": NamedSide(label="keras", path="x"), "b": NamedSide(label="torch", path="y")},
        **{"rungs": rungs, **more},
    )


def strict(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


# --- Order ----------------------------------------------------------------------------------------


def test_breaks_in_the_order_in_which_they_come_to_bear() -> None:
    expected = [
        a_break("spec", None),
        a_break("data", None),
        a_break("order", None),
        a_break("init", 0),
        a_break("init", 0, side="b"),
        a_break("data", 1),
        a_break("forward", 1),
        a_break("update", 1),
        a_break("gradient", 2),
        a_break("order", 11),
        a_break("forward", 57),
        a_break("loss", None, batch="stress"),
        a_break("trajectory", None),
        a_break("metrics", None),
        a_break("predictions", None),
        a_break("report", None),
    ]
    rng = np.random.default_rng(0)
    for _ in range(20):
        shuffled = [expected[i] for i in rng.permutation(len(expected))]
        assert [(b.rung, b.step, b.side) for b in ordered(shuffled)] == [
            (b.rung, b.step, b.side) for b in expected
        ]


def test_an_epoch_one_order_comes_before_a_later_step() -> None:
    first = ordered([a_break("update", 3), a_break("order", 1)])[0]
    assert first.rung == "order"


# --- JSON -----------------------------------------------------------------------------------------


def test_sizes_that_are_not_finite_become_null() -> None:
    for size in (np.inf, np.nan, -np.inf):
        assert strict(a_break("loss", 1, size=size).model_dump(mode="json"))["size"] is None
    assert strict(a_break("loss", 1, size=np.float64(2.5)).model_dump(mode="json"))["size"] == 2.5


def test_document_of_a_pass() -> None:
    content = strict(outcome(predictions=Predictions(total=10), report_identical=True).document())
    assert set(content) >= OUTCOME_KEYS
    assert (content["first_break"], content["cause"], content["breaks"]) == (None, None, [])
    assert content["predictions"] == {"total": 10, "different": 0}
    assert content["proof"]["status"] == "not_run"
    assert content["proof"]["max_abs_difference"] is None
    assert list(content["rungs"]) == list(RUNGS)
    assert {"status", "margin"} <= set(content["rungs"]["forward"])


def test_a_rung_that_was_not_exercised_says_why() -> None:
    Rung(name="order", status="not_exercised", text="the data set is not at hand")
    with pytest.raises(ValueError, match="needs a reason"):
        Rung(name="order", status="not_exercised")


@pytest.mark.parametrize("evidence", [{}, {"compared": 0}, {"margin": 1.01}, {"margin": np.nan}])
def test_a_rung_without_evidence_cannot_be_clean(evidence: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rung loss is clean"):
        Rung(name="loss", status="clean", **evidence)


def test_without_evidence_a_rung_is_not_exercised() -> None:
    assert clean("loss", 0.3, None).status == "clean"
    assert clean("spec", None, 17).status == "clean"
    assert (clean("loss", 1.0, None).status, clean("spec", None, 17).text) == ("clean", "")
    assert clean("loss", 0.3, None, "remark").text == "remark"
    for count in (None, 0):
        assert clean("loss", None, count).text == "nothing was compared"
    for margin, count in ((1.5, None), (7e5, None), (np.nan, 3)):
        rung = clean("loss", margin, count)
        assert rung.status == "not_exercised"
        assert rung.margin == pytest.approx(margin, nan_ok=True)
        assert rung.text.startswith(f"{margin:.2g} of what rounding allows")


def rungs_with(status: Any, name: str) -> tuple[Rung, ...]:
    """All clean, but one."""
    return tuple(
        Rung(name=n, status=status, text="why")
        if n == name
        else Rung(name=n, status="clean", compared=1)
        for n in RUNGS
    )


def test_a_verdict_cannot_contradict_its_rungs() -> None:
    """The rule holds in the value itself, so that it holds for every verdict there is."""
    found = (a_break("update", 1),)
    with pytest.raises(ValueError, match="something broke"):
        outcome("identical", rungs=rungs_with("broken", "update"), breaks=found)
    with pytest.raises(ValueError, match="something broke"):
        outcome("inconclusive", breaks=found)
    with pytest.raises(ValueError, match="broken without a break: loss"):
        outcome("different", rungs=rungs_with("broken", "loss"), breaks=found)
    with pytest.raises(ValueError, match="update were not seen"):
        outcome("identical", rungs=rungs_with("not_exercised", "update"))
    assert outcome("identical", rungs=rungs_with("not_exercised", "order")).verdict == "identical"


def test_text_says_what_a_clean_rung_rests_on() -> None:
    rungs = (
        Rung(name="spec", status="clean", compared=17),
        Rung(name="order", status="clean", compared=157500),
        Rung(name="loss", status="clean", margin=0.25),
    )
    lines = as_text(outcome("inconclusive", rungs=rungs)).splitlines()
    assert "  spec   clean               17 fields compared" in lines
    assert "  order  clean          157,500 rows compared" in lines
    assert "  loss   clean             0.25 of what rounding allows" in lines


def test_what_a_rung_compared_is_in_its_document() -> None:
    rungs = (
        Rung(name="spec", status="clean", compared=17),
        Rung(name="loss", status="clean", margin=0.5),
    )
    content = strict(outcome().model_copy(update={"rungs": rungs}).document())
    assert content["rungs"] == {
        "spec": {"status": "clean", "margin": None, "compared": 17, "text": ""},
        "loss": {"status": "clean", "margin": 0.5, "compared": None, "text": ""},
    }


def test_document_of_a_break() -> None:
    cause = Cause("learning_rate", "0.1 instead of 0.01", "title", "line")
    found = a_break("update", 3, epoch=1, layer=0, tensor="kernel", size=9.5)
    content = strict(outcome("different", breaks=(found.caused_by(cause),)).document())
    assert content["first_break"] == content["breaks"][0]
    assert set(content["first_break"]) == BREAK_KEYS
    assert content["cause"] == content["first_break"]["cause"]
    assert set(content["cause"]) == {"name", "value", "text", "fix"}


def test_the_stress_batch_has_no_step() -> None:
    spec = spec_of()
    side = NumpySide(spec, loss=wrong.mean_of(wrong.clipped_at(1e-7)))
    (found,) = look_at(side, spec).breaks
    content = strict(found.model_dump(mode="json"))
    assert (content["step"], content["epoch"], content["batch"]) == (None, None, "stress")


@pytest.mark.usefixtures("in_process")
def test_real_outcomes_are_strict_json(runs: Path) -> None:
    for name in ("stranger", "trees:Maple", "trees:Yew"):
        found = compared(trained("numpy", runs), trained(name, runs))
        content = strict(found.document())
        assert set(content) >= OUTCOME_KEYS
        assert content["sides"]["b"]["label"] == name.rpartition(":")[2].lower()
        assert content["predictions"]["total"] == 103
        statuses = {rung["status"] for rung in content["rungs"].values()}
        assert statuses <= {"clean", "broken", "noted", "not_exercised"}
        for item in content["breaks"]:
            assert set(item) == BREAK_KEYS
            assert item["cause"]["text"]
            assert item["cause"]["fix"]


def full() -> Outcome:
    """An outcome in which every part holds something."""
    return outcome(
        "different",
        breaks=(
            a_break("update", 3, epoch=1, layer=0, tensor="kernel", size=9.5, got="1"),
            a_break("loss", None, batch="stress", cause=Cause("loss_sum", "value", "text", "fix")),
        ),
        noted=(Cause("own_shuffle"),),
        not_exercised=("clipping",),
        predictions=Predictions(total=10, different=2),
        report_identical=False,
        proof=Proof(status="passed", max_abs_difference=1e-15, bound=1e-10, further="a"),
        chaos=Chaos(backend="keras", spread=(1, 2), different=2, explained=1, margin=0.5),
    )


def test_a_document_is_json_as_it_is() -> None:
    assert full().document() == strict(full().document())
    assert document([full()])["schema_version"] == document([full(), full()])["schema_version"] == 1


def test_a_document_is_read_back_as_what_it_was() -> None:
    assert Outcome.model_validate(strict(full().document())) == full()


def test_a_document_of_a_later_version_may_hold_more() -> None:
    content = strict(full().document())
    content["news"] = content["breaks"][0]["news"] = content["rungs"]["init"]["news"] = 1
    content["breaks"][0]["cause"]["news"] = content["proof"]["news"] = 1
    assert Outcome.model_validate(content) == full()


def test_numbers_that_are_not_finite_are_null_everywhere() -> None:
    rungs = (Rung(name="update", status="broken", margin=np.inf),)
    proof = Proof(status="failed", max_abs_difference=np.nan, bound=np.inf)
    chaos = Chaos(backend="keras", spread=(1,), different=1, explained=1, margin=np.nan)
    given = full().model_copy(update={"rungs": rungs, "proof": proof, "chaos": chaos})
    content = strict(given.document())
    assert content["rungs"]["update"]["margin"] is None
    assert (content["proof"]["max_abs_difference"], content["proof"]["bound"]) == (None, None)
    assert content["chaos"]["margin"] is None
    read = Outcome.model_validate(content)
    assert read.chaos is not None
    assert read.chaos.margin is None
    assert "logits" not in as_text(read)


# --- Codes and text -------------------------------------------------------------------------------


def test_exit_codes() -> None:
    assert EXIT_CODES == {"identical": 0, "equivalent": 0, "different": 1, "inconclusive": 6}


def test_the_worst_of_several_decides() -> None:
    verdicts = ("identical", "equivalent", "inconclusive", "different")
    outcomes = [outcome(verdict) for verdict in verdicts]
    for last in range(1, 5):
        assert worst(outcomes[:last]).verdict == verdicts[last - 1]
    content = strict(document(outcomes))
    assert content["verdict"] == "different"
    assert [item["verdict"] for item in content["comparisons"]] == list(verdicts)
    assert "comparisons" not in document(outcomes[:1])


def test_text_names_side_place_and_cause() -> None:
    cause = Cause("weight_decay", "0.0001 on all tensors", "what it is", "weight_decay=0")
    found = a_break("update", 3, side="b", epoch=1, layer=2, tensor="bias", size=9.5, got="1.5")
    given = outcome(
        "different",
        breaks=(found.caused_by(cause),),
        not_exercised=("clipping",),
        proof=Proof(status="failed", max_abs_difference=1e-3, bound=1e-10),
    )
    text = as_text(given)
    for part in (
        "keras (a) against torch (b): DIFFERENT",
        "torch (b) breaks at rung update, epoch 1, step 3, layer 2, bias",
        "got 1.5",
        "9.5 roundings",
        "weight_decay (0.0001 on all tensors)",
        "weight_decay=0",
        "not exercised",
        "clipping",
        "proof failed",
    ):
        assert part in text


def test_lines_to_blame_stand_right_under_the_break() -> None:
    here, there = UserLine("port.py", 34, "x = 1", "before"), UserLine("keras.py", 7, "y", "layer")
    found = a_break("update", 3, side="b").blaming({"a": there, "b": here})
    given = outcome("different", breaks=(found,))
    lines = as_text(given).splitlines()
    at = next(n for n, line in enumerate(lines) if "breaks at" in line)
    assert lines[at + 1 : at + 3] == [
        "  in the port, after: port.py:34: x = 1",
        "  in the original: keras.py:7: y",
    ]
    assert Outcome.model_validate(strict(given.document())) == given
    assert strict(given.document())["first_break"]["lines"]["a"] == {
        "file": "keras.py",
        "line": 7,
        "text": "y",
        "role": "layer",
    }


WHOLE_TEXT = """\
keras (a) against torch (b): DIFFERENT
text

keras (a) breaks at rung update, epoch 1, step 3, layer 0, kernel
  got 1.5, expected 2   (9.5 roundings)
  cause: weight_decay (0.0001)
  What it is.
  cure:  weight_decay=0

torch (b) breaks at rung loss, stress batch
  got 1, expected 3
  cause: unknown

  spec      clean               17 fields compared
  loss      broken        unknown
  gradient  not_exercised too late
  update    broken        weight_decay
  other     clean            1,234 values compared

2 predictions differ; in keras alone, changing the last digit of the initial weights changes 1, 2. \
1 of the differing ones are among these; their two best logits are at most 0.5 apart.

float64 proof passed: final weights 1.3e-15 apart, allowed 1e-10

noted: own_shuffle
noted: shuffled (twice)
not exercised:
  - clipping"""


def test_the_whole_text() -> None:
    cause = Cause("weight_decay", "0.0001", "What it is.", "weight_decay=0")
    one = a_break("update", 3, epoch=1, layer=0, tensor="kernel", size=9.5, got="1.5", expected="2")
    given = outcome(
        "different",
        breaks=(
            one.caused_by(cause),
            a_break("loss", None, side="b", batch="stress", got="1", expected="3"),
        ),
        rungs=(
            Rung(name="spec", status="clean", compared=17),
            Rung(name="loss", status="broken", text="unknown"),
            Rung(name="gradient", status="not_exercised", text="too late"),
            Rung(name="update", status="broken", text="weight_decay"),
            Rung(name="other", status="clean", compared=1234),
        ),
        noted=(Cause("own_shuffle"), Cause("shuffled", "twice")),
        not_exercised=("clipping",),
        proof=Proof(status="passed", max_abs_difference=1.26e-15, bound=1e-10),
        chaos=Chaos(backend="keras", spread=(1, 2), different=2, explained=1, margin=0.5),
    )
    assert as_text(given) == WHOLE_TEXT


@pytest.mark.parametrize(("gap", "bound"), [(None, 1e-10), (1e-3, None), (None, None)])
def test_a_proof_without_a_number_is_not_finite(gap: float | None, bound: float | None) -> None:
    proof = Proof(status="failed", max_abs_difference=gap, bound=bound)
    assert "float64 proof failed: final weights not finite" in as_text(outcome(proof=proof))


def test_a_broken_rung_rests_on_nothing_else() -> None:
    assert evidence_of(Rung(name="loss", status="broken")) == ""


def test_the_text_of_a_place_leaves_out_what_does_not_apply() -> None:
    where = a_break("update", 3, epoch=1, layer=0, tensor="kernel")
    assert place_text(where) == "rung update, epoch 1, step 3, layer 0, kernel"
    assert place_text(a_break("init", 0)) == "rung init, step 0"
    assert place_text(a_break("loss", None, batch="stress")) == "rung loss, stress batch"


def test_an_empty_last_line_is_no_line() -> None:
    text = as_text(outcome("inconclusive"))
    assert text == text.strip()
    lines = text.splitlines()
    assert lines[-1].startswith("  report ")
    assert lines[0].startswith("keras (a)")


def test_a_notebook_shows_the_text_and_runs_nothing_of_it() -> None:
    side = NamedSide(label="<script>alert(1)</script>", path="x")
    found = outcome().model_copy(update={"sides": {"a": side, "b": side}})
    page = found._repr_html_()
    assert "<script>" not in page
    bold, _, _ = page.partition("</b>")
    assert bold.startswith("<pre><b>&lt;script&gt;alert(1)&lt;/script&gt; (a) against")
    assert "\n" not in bold
    assert unescape(page.replace("<b>", "").replace("</b>", ""))[5:-6] == as_text(found)
