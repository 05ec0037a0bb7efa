"""The sentence at the top, and the comparison it rests on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.errors import RunFolderError, UsageError
from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.parity.outcome import Chaos, Proof, Rung
from mnist_mlp.report import report_html
from mnist_mlp.report.comparison import pairs_beside, pairs_from
from mnist_mlp.report.headline import Judgement, judge_pair
from mnist_mlp.report.sides import read_sides

Cli = Callable[..., CompletedProcess[str]]

KERNEL = Cause("torch_default_kernel_init", "uniform within 1 / sqrt(inputs)")
INIT = Break(
    side="b",
    rung="init",
    place=Place(epoch=0, step=0, layer=0, tensor="kernel"),
    size=2e6,
    got="-0.03",
    expected="0.08",
    cause=KERNEL,
)
LATER = Break(
    side="a",
    rung="update",
    place=Place(epoch=2, step=410, layer=1, tensor="bias"),
    size=4.0,
    got="1",
    expected="2",
)
PROOF = Proof(status="passed", max_abs_difference=3e-15, bound=1e-10)
CHAOS = Chaos(backend="left", spread=(22, 31, 27), different=3, explained=3, margin=1e-4)


def judged(twins: Any) -> Judgement:
    (pair,) = pairs_beside(read_sides(twins.runs))
    return judge_pair(pair)


@pytest.mark.parametrize(
    ("verdict", "more", "word", "sentence"),
    [
        (
            "identical",
            {},
            "Identical",
            "Faithful: left and right made the same training run; all 63 predictions agree.",
        ),
        (
            "equivalent",
            {"text": "Equal up to a permutation of hidden units."},
            "Equivalent",
            "Faithful: left and right are equal up to the order of their hidden units.",
        ),
        (
            "inconclusive",
            {},
            "Inconclusive",
            "Undecided: it is not proved that left and right differ, nor that they agree.",
        ),
        (
            "different",
            {"breaks": (INIT, LATER)},
            "Different",
            "Not faithful: left and right first differ at the initial weights.",
        ),
        (
            "different",
            {"breaks": (LATER,)},
            "Different",
            "Not faithful: left and right first differ at the weight update, in step 410 of "
            "epoch 2.",
        ),
    ],
)
def test_the_verdict_in_one_sentence(
    twins: Any, verdict: str, more: dict[str, Any], word: str, sentence: str
) -> None:
    twins.compared(verdict, **more)
    found = judged(twins)
    assert (found.word, found.sentence) == (word, sentence)
    tones = {"identical": "good", "equivalent": "good", "different": "bad"}
    assert found.tone == tones.get(verdict, "unsure")


def test_equivalent_says_how_many_differ_and_what_shows_it(twins: Any) -> None:
    twins.put_right(rows=3)
    twins.compared("equivalent", proof=PROOF, chaos=CHAOS)
    found = judged(twins)
    assert found.sentence == (
        "Faithful: left and right run the same algorithm; 3 of 63 predictions differ, "
        "by rounding alone."
    )
    assert "the final weights differ by 3e-15 (allowed 1e-10)" in " ".join(found.reasons)
    assert "In left alone" in " ".join(found.reasons)


def test_without_a_comparison_nothing_is_judged(twins: Any, read_page: Any) -> None:
    twins.put_right(rows=2)
    page = read_page(report_html(twins.runs))
    assert page.one("p", "badge").text.endswith("Not judged")
    assert page.one("h1").text.startswith("Not judged: 2 of 63 predictions differ;")
    ladder = page.by_id("ladder")
    assert not ladder.all("table")
    told = ladder.one("p", "callout").text
    left, right = twins.runs
    assert told.startswith("The runs were not compared rung by rung.")
    assert told.endswith(f"python -m mnist_mlp compare {left.path} {right.path}")


def test_the_ladder_with_breaks_causes_and_cures(twins: Any, read_page: Any) -> None:
    rungs = (
        Rung(name="spec", status="clean", compared=16),
        Rung(name="init", status="broken", text=KERNEL.name),
        Rung(name="forward", status="clean", margin=0.331),
        Rung(name="update", status="not_exercised", text="nothing was climbed"),
        Rung(name="report", status="noted", text="classification reports are different"),
    )
    twins.compared("different", breaks=(INIT, LATER), rungs=rungs, not_exercised=("bright pixels",))
    ladder = read_page(report_html(twins.runs)).by_id("ladder")
    rows = {row.all("th")[0].text.split()[0]: row for row in ladder.one("tbody").all("tr")}
    assert list(rows) == ["spec", "init", "forward", "update", "report"]
    told = {name: row.one("span", "status").text for name, row in rows.items()}
    assert told == {
        "spec": "✓ clean",
        "init": "✗ broken",
        "forward": "✓ clean",
        "update": "– not exercised",  # noqa: RUF001
        "report": "≈ noted",
    }
    assert rows["forward"].one("td", "margin").text == "33 %"
    assert rows["init"].one("td", "margin").text == ""
    first, second = ladder.all("article", "break")
    assert (
        first.one("h3").text == "Kernels are drawn as torch's Linear does it, not Glorot uniform."
    )
    assert "right breaks at the initial weights, layer 0, kernel" in first.text
    assert "-0.03, 2e+06 roundings off" in first.text
    assert "nn.init.xavier_uniform_(layer.weight)" in [code.text for code in first.all("code")]
    assert second.one("h3").text == "The cause is not known."
    assert "left breaks at the weight update, epoch 2, step 410, layer 1, bias" in second.text
    assert "bright pixels" in ladder.text


def test_a_comparison_that_tells_of_other_predictions_is_not_believed(
    twins: Any, read_page: Any, tmp_path: Path
) -> None:
    """A run was trained anew after `compare`, so its verdict says nothing any more."""
    twins.compared("identical")
    twins.put_right(rows=2)
    page = read_page(report_html(twins.runs))
    assert page.one("h1").text.startswith("Not judged")
    assert (
        "it reports 0 differing predictions of 63, but in the folders 2 of 63 differ" in page.text
    )
    document = json.loads((twins.folder / "compare.json").read_text())
    with pytest.raises(
        RunFolderError, match=r"given\.json: it reports 0 .* compare the runs again"
    ):
        pairs_from(read_sides(twins.runs), document, origin="given.json")


def _other_rate(record: dict[str, Any]) -> None:
    record["spec"]["optimizer"]["learning_rate"] = 0.25


def _other_digest(record: dict[str, Any]) -> None:
    record["dataset"]["sha256"] = "0" * 64


@pytest.mark.parametrize("verdict", ["identical", "equivalent"])
@pytest.mark.parametrize(
    ("forged", "words"),
    [
        (_other_rate, "the specifications differ"),
        (_other_digest, "the data sets differ"),
        ("report.txt", "report.txt of right does not follow from its predictions"),
        ("history.csv", "the weights of right are not those at the end of its history"),
        ("epochs", "the histories have 3 and 2 epochs"),
    ],
)
def test_a_forged_agreement_is_not_believed(
    twins: Any, read_page: Any, verdict: str, forged: Any, words: str
) -> None:
    """A compare.json that says what its folders themselves refute."""
    right = twins.folder / "right"
    history = (right / "history.csv").read_text()
    if callable(forged):
        twins.edit("right", forged)
    elif forged == "report.txt":
        text = (right / forged).read_text()
        (right / forged).write_text(text.replace("accuracy", "accuracy ", 1))
    elif forged == "history.csv":
        (right / forged).write_text(f"{history[:-5]}0000\n")
    else:
        (right / "history.csv").write_text("\n".join(history.splitlines()[:-1]) + "\n")
    twins.compared(verdict)
    page = read_page(report_html(twins.runs))
    assert page.one("h1").text.startswith("Not judged")
    assert f"it says {verdict}, but {words}" in page.text


@pytest.mark.parametrize("verdict", ["identical", "equivalent", "inconclusive"])
def test_a_verdict_that_its_own_breaks_refute_is_not_used(
    twins: Any, read_page: Any, verdict: str
) -> None:
    twins.compared("different", breaks=(INIT,), rungs=(BROKEN,))
    path = twins.folder / "compare.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"verdict": verdict}))
    page = read_page(report_html(twins.runs))
    assert page.one("h1").text.startswith("Not judged")
    assert f"the verdict is {verdict}, but something broke" in page.text


BROKEN = Rung(name="init", status="broken", text=KERNEL.name)


def test_a_forged_count_of_predictions_or_reports(twins: Any, read_page: Any) -> None:
    twins.compared("identical", report_identical=False)
    text = read_page(report_html(twins.runs)).text
    assert "it says the reports are different, but those in the folders are equal" in text
    twins.put_right(rows=2)
    twins.compared("identical", report_identical=None)
    page = read_page(report_html(twins.runs))
    assert "it says identical, but 2 predictions differ" in page.text
    assert page.one("h1").text.startswith("Not judged")


def test_a_verdict_from_a_file_is_said_to_be_quoted(twins: Any, read_page: Any) -> None:
    """What a replay alone shows cannot be looked up in two folders."""
    twins.compared("identical")
    page = read_page(report_html(twins.runs))
    assert "This verdict is quoted from the compare.json beside the runs" in page.text
    document = json.loads((twins.folder / "compare.json").read_text())
    given = read_page(report_html(twins.runs, document=document, origin="given.json"))
    assert "This verdict is quoted from given.json" in given.text
    made = read_page(report_html(twins.runs, document=document))
    assert "quoted from" not in made.text
    assert made.one("h1").text == given.one("h1").text == page.one("h1").text


@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"schema_version": 9}', '{"schema_version": 1, "verdict": "great"}']
)
def test_a_comparison_that_is_none(twins: Any, read_page: Any, content: str) -> None:
    (twins.folder / "compare.json").write_text(content)
    page = read_page(report_html(twins.runs))
    assert page.one("h1").text.startswith("Not judged")
    assert "The compare.json beside the runs is not used" in page.by_id("ladder").text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["rungs"]["init"].update(status="great"), "rungs.3.status: Input should be "),
        (lambda d: d["rungs"].update(init=4), "rungs.3: Input should be "),
        (lambda d: d["sides"].pop("b"), "sides: Value error, expected the sides a and b"),
        (lambda d: d["sides"]["b"].pop("path"), "sides.b.path: Field required"),
        (lambda d: d["breaks"][0].update(step="soon"), "breaks.0.step: Input should be "),
        (lambda d: d["breaks"][0].pop("rung"), "breaks.0.rung: Field required"),
        (lambda d: d["breaks"][0].update(cause="it"), "breaks.0.cause: Input should be "),
        (lambda d: d["predictions"].update(total=None), "predictions.total: Input should be "),
        (lambda d: d.pop("verdict"), "verdict: Field required"),
        (lambda d: d.update(comparisons=3), "comparisons is not a list"),
        (lambda d: d.update(comparisons=[3]), "comparisons.0: Input should be "),
    ],
)
def test_a_damaged_comparison_is_refused_with_its_field(
    twins: Any, change: Callable[[Any], object], message: str
) -> None:
    document = twins.outcome("different", breaks=(INIT,)).document()
    change(document)
    with pytest.raises(RunFolderError) as caught:
        pairs_from(read_sides(twins.runs), document, origin="given.json")
    text = str(caught.value)
    assert text.startswith(f"given.json: {message}")
    assert text.endswith("; compare the runs again")
    assert "\n" not in text


def test_a_comparison_of_others_is_refused(twins: Any) -> None:
    sides = {
        "a": {"label": "left", "path": "x/left"},
        "b": {"label": "third", "path": "x/third"},
    }
    document = twins.outcome("identical", sides=sides).document()
    with pytest.raises(UsageError, match="given compares x/left with x/third, and not these runs"):
        pairs_from(read_sides(twins.runs), document, origin="given")


def test_sides_in_the_other_order(twins: Any) -> None:
    """Break side a is the document's a, which may be the report's second run."""
    twins.compared("different", breaks=(INIT,))
    left, right = twins.runs
    (pair,) = pairs_beside(read_sides([right, left]))
    assert pair.names == {"a": "left", "b": "right"}
    assert judge_pair(pair).sentence.startswith("Not faithful: right and left first differ")


def test_several_runs_are_judged_by_the_worst(twins: Any, read_page: Any) -> None:
    left, right = twins.runs
    sides = {key: {"label": "left", "path": "left"} for key in "ab"}
    documents = [
        twins.outcome("identical").document(),
        twins.outcome("different", breaks=(INIT,), sides=sides).document(),
    ]
    together = {"schema_version": 1, "verdict": "different", "comparisons": documents}
    (twins.folder / "compare.json").write_text(json.dumps(together))
    page = read_page(report_html([left, right, left]))
    assert page.one("h1").text == (
        "Not faithful: left (left) 2 and left (left) 1 are not the same training run."
    )
    reasons = [reason.text for reason in page.one("div", "reasons").all("p")]
    assert reasons[0].startswith("Faithful: left (left) 1 and right")
    assert reasons[1].startswith("Not faithful: left (left) 1 and left (left) 2 first differ at")


# --- The command ----------------------------------------------------------------------------------


def test_the_command_writes_beside_one_run_and_here_for_several(
    cli: Cli, twins: Any, tmp_path: Path
) -> None:
    left, right = (run.path for run in twins.runs)
    done = cli("report", left)
    assert (done.returncode, done.stdout.strip()) == (0, str(left / "report.html"))
    done = cli("report", left, right, "--json")
    told = json.loads(done.stdout)
    assert told == {
        "schema_version": 1,
        "path": "report.html",
        "bytes": (tmp_path / "report.html").stat().st_size,
        "runs": [
            {"path": str(path), "status": "complete", "weights": "final", "epoch": 3}
            for path in (left, right)
        ],
    }
    twins.compared("identical")
    moved = tmp_path / "told.json"
    (twins.folder / "compare.json").rename(moved)
    done = cli("report", left, right, "--compare", moved, "--out", "pages/one.html")
    assert done.stdout.strip() == "pages/one.html"
    assert "Faithful" in (tmp_path / "pages" / "one.html").read_text()


def test_what_the_command_refuses(cli: Cli, twins: Any, tmp_path: Path) -> None:
    left, right = (run.path for run in twins.runs)
    for words, code, text in (
        ((left, "nowhere"), 4, "nowhere: no such run folder"),
        ((left, "--compare", "x.json"), 2, "--compare needs the runs that were compared"),
        ((left, right, "--compare", "x.json"), 4, "x.json: no such file"),
        ((left, "--out", tmp_path), 2, "is a folder; name a file"),
        ((), 2, "Missing argument"),
    ):
        done = cli("report", *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert text in done.stderr
