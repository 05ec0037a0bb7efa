"""The page that `check --out` writes, and the command that writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_mlp.parity.check.port import Checked
from mnist_mlp.parity.cost import Cost, TrainedRun
from mnist_mlp.parity.findings import RUNGS, UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.outcome import LayerRow, NamedSide, Outcome, Rung, ShownLayer
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.report.check_page import check_html
from mnist_mlp.report.cost import notebook_html
from mnist_mlp.spec import Spec

Cli = Callable[..., CompletedProcess[str]]

CAUSE = Cause("softmax_twice", "classifier.7: softmax", fix="leave classifier.7 out")
SOFTMAX = Break(
    side="b", rung="loss", place=Place(1, 1, None, "mean"), got="2.1", expected="2.3", cause=CAUSE
)
NO_NAME = Break(side="b", rung="gradient", place=Place(1, 2, 0, "kernel"), cause=Cause(UNKNOWN))


def outcome(verdict: Any, *breaks: Break, port: str = "port.py:Net") -> Outcome:
    broken = {item.rung for item in breaks}
    return Outcome(
        verdict=verdict,
        text="What there is to say.",
        sides={
            "a": NamedSide(label="original.py:build", path="original.py:build"),
            "b": NamedSide(label=port, path=port),
        },
        breaks=breaks,
        rungs=tuple(
            Rung(name=name, status="broken", text="cause")
            if name in broken
            else Rung(name=name, status="clean", margin=0.25)
            for name in RUNGS
        ),
        noted=(Cause("flatten_order"),),
        not_exercised=("the schedule after the first steps",),
    )


@pytest.mark.parametrize(
    ("verdict", "breaks", "tone", "sentence"),
    [
        ("identical", (), "good", "Faithful: port.py:Net trains as original.py:build does."),
        ("inconclusive", (), "unsure", "Undecided: it is not known whether port.py:Net trains as"),
        ("different", (SOFTMAX, NO_NAME), "bad",
         "Not faithful: port.py:Net first differs from original.py:build at the loss, in step 1 of "
         "epoch 1."),
    ],
)  # fmt: skip
def test_the_first_screenful_answers(
    read_page: Any, verdict: str, breaks: tuple[Break, ...], tone: str, sentence: str
) -> None:
    page = read_page(check_html(outcome(verdict, *breaks)))
    assert page.one("body").classes == [tone]
    first = page.one("header")
    assert first.one("h1").text.startswith(sentence)
    assert ("What to write insteadleave classifier.7 out" in first.text) is bool(breaks)
    others = [x.attributes["href"] for x in first.all("a")]
    assert others == [f"#break-{n}" for n in range(2, len(breaks) + 1)]
    for target in (*others, *(x.attributes["href"] for x in page.all("a"))):
        assert page.by_id(target.removeprefix("#"))


HERE = UserLine("port.py", 34, 'self.bn = nn.BatchNorm2d(32)  # <b>"a" & b</b>', "layer")
THERE = UserLine("original.ipynb, cell 2", 7, "keras.layers.Dense(3),", "before")


def test_the_lines_to_blame_are_in_the_first_screenful(read_page: Any) -> None:
    blamed = SOFTMAX.blaming({"b": HERE, "a": THERE})
    page = read_page(check_html(outcome("different", blamed, NO_NAME)))
    first = page.one("header").text.replace(" ", "")
    assert f"Intheportport.py:34{HERE.text}".replace(" ", "") in first
    assert "Intheoriginal,afteroriginal.ipynb,cell2:7keras.layers.Dense(3)," in first
    cards = page.all("article")
    assert "port.py:34" in cards[0].text
    assert "In the port" not in cards[1].text
    silent = read_page(check_html(outcome("different", NO_NAME, blamed))).one("header")
    assert "In the port" not in silent.text  # the first break has none: no other's is taken


NORM = ShownLayer(
    name="bn: BatchNormalization",
    kind="batch_norm",
    settings={"epsilon": "0.001", "momentum": "0.9"},
    line=THERE,
)
OTHER = NORM.model_copy(
    update={"name": "features.1", "settings": {"epsilon": "1e-05", "momentum": "0.9"}, "line": HERE}
)
ROWS = (
    LayerRow(a=NORM, b=OTHER, differing=("epsilon",)),
    LayerRow(a=NORM),
    LayerRow(b=OTHER.model_copy(update={"line": None})),
)


def test_both_layer_lists_stand_side_by_side(read_page: Any) -> None:
    found = outcome("different", SOFTMAX).model_copy(update={"layers": ROWS})
    page = read_page(check_html(found))
    first, second, third = page.by_id("layers").one("tbody").all("tr")
    # Marked by a sign and a word, not by the colour alone; what is equal is not marked.
    assert [x.text for x in first.all("span", "differs")] == [
        "≠differs: epsilon",
        "≠differs: epsilon 0.001",
        "≠differs: epsilon 1e-05",
    ]
    assert "port.py:34" in first.text
    assert second.all("td")[1].text == "no counterpart"
    assert third.all("td")[0].text == "no counterpart"
    assert not second.all("span", "differs") + third.all("span", "differs")
    assert Outcome.model_validate(json.loads(json.dumps(found.document()))) == found


RUNS = (
    TrainedRun(side="a", label="original.py", history={"loss": (0.5, 0.25), "val_mae": (3.0, 2.0)}),
    TrainedRun(side="b", label="port.py", history={"loss": (900.0, None, 1e4)}),
)


def test_the_curves_of_both_are_on_the_page(read_page: Any) -> None:
    cost = Cost(runs=(*RUNS, TrainedRun(side="b", label="empty.py", problem="it fails")))
    page = read_page(check_html(outcome("different", SOFTMAX), cost=Cost(runs=RUNS)))
    figures = page.all("svg")
    assert [x.attributes["aria-labelledby"].split()[0] for x in figures] == [
        "cost-hero-title", "cost-loss-title", "cost-mae-title",
    ]  # fmt: skip
    assert page.by_id("cost-loss-title").text == "Loss by epoch, on a logarithmic scale"
    assert page.by_id("cost-loss-text").text == (
        "original.py: training loss 0.5000 at epoch 1, 0.2500 at epoch 2. "
        "port.py: training loss 900.0000 at epoch 1, 1e+04 at epoch 3."
    )
    section = page.by_id("cost")
    assert "loss: 0.25 in original.py after 2 epochs, 1e+04 in port.py after 3 epochs." in (
        section.text
    )
    rows = [[x.text for x in row.all("td")] for row in section.one("tbody").all("tr")]
    assert rows == [["0.5", "3", "900"], ["0.25", "2", "none"], ["", "", "10000"]]
    legends = [[x.text for x in each.all("li")] for each in page.all("ul", "legend")]
    assert legends == [
        ["original.py, training", "port.py, training"],
        ["original.py, training", "port.py, training"],
        ["original.py, validation"],
    ]
    assert not page.all("span", "dashed")  # of training alone, nothing has to be told apart
    assert "mathdefault" not in page.by_id("cost").text
    assert "10⁴" in page.by_id("cost").text
    left = read_page(check_html(outcome("identical"), cost=cost))
    assert "empty.py was not trained to its end: it fails." in left.by_id("cost").text


def test_a_notebook_shows_the_curves_without_a_style_sheet(read_page: Any) -> None:
    """Two outputs in one page have no id in common; nothing is fetched or run."""
    other = Cost(runs=RUNS[:1])
    shown = notebook_html(Cost(runs=RUNS)) + notebook_html(other)
    page = read_page(shown)
    ids = [x.attributes["id"] for x in page.inside if "id" in x.attributes]
    assert len(set(ids)) == len(ids) > 0
    for svg in page.all("svg"):
        assert set(svg.attributes["aria-labelledby"].split()) <= set(ids)
    used = set(re.findall(r"var\(--([\w-]+)\)", shown))
    assert used <= set(re.findall(r"--([\w-]+):", shown))
    assert not page.all("script") + page.all("img") + page.all("link")
    found = outcome("different", SOFTMAX)
    spec = Spec.model_validate({})
    assert Checked(found, spec)._repr_html_() == found._repr_html_()
    whole = Checked(found, spec, other)._repr_html_()
    assert whole == found._repr_html_() + notebook_html(other)


def test_a_specification_brings_its_port_map(read_page: Any) -> None:
    spec = Spec.model_validate({})
    page = read_page(check_html(outcome("identical"), spec=spec))
    assert "nn.Linear(784, 128)" in page.by_id("port-map").text
    assert not [x for x in page.all("section") if x.attributes.get("id") == "layers"]
    without = read_page(check_html(outcome("identical")))
    assert [x.attributes["id"] for x in without.all("section")] == ["ladder"]


def test_below_are_all_breaks_rungs_and_what_was_left_open(read_page: Any) -> None:
    page = read_page(check_html(outcome("different", SOFTMAX, NO_NAME)))
    cards = page.all("article")
    assert len(cards) == 2
    assert "softmax_twice, classifier.7: softmax" in cards[0].text
    assert "Found2.1" in cards[0].text.replace(" ", "")
    assert "leave classifier.7 out" in cards[0].text
    assert "The cause is not known." in cards[1].text
    assert len(page.one("tbody").all("tr")) == len(RUNGS)
    assert "flatten_order" in page.text
    assert "the schedule after the first steps" in page.text


def test_nothing_is_loaded_and_a_name_is_only_text(read_page: Any) -> None:
    content = check_html(outcome("identical", port='<img src="http://x/y">:Net'))
    page = read_page(content)
    assert not page.all("script") + page.all("link") + page.all("img") + page.all("iframe")
    assert '<img src="http://x/y">:Net' in page.one("h1").text
    assert content == check_html(outcome("identical", port='<img src="http://x/y">:Net'))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` finds a softmax too many, without running anything."""

    def check_port(*_: Any, **__: Any) -> Any:
        found = outcome("different", SOFTMAX)
        spec = Spec.model_validate({})
        return SimpleNamespace(outcome=found, spec=spec, cost=None, by_original=False)

    monkeypatch.setattr("mnist_mlp.parity.check.port.check_port", check_port)


@pytest.mark.usefixtures("checked")
def test_the_command_writes_both_files_and_overwrites_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "port.py").write_text("import torch\n")
    done = cli("check", "port.py:Net", "--dataset", "digits", "--out", "here", "--json")
    assert done.returncode == 1
    here = tmp_path / "here"
    assert json.loads((here / "check.json").read_text()) == json.loads(done.stdout)
    assert "first differs from" in (here / "report.html").read_text()
    done = cli("check", "port.py:Net", "--out", "here")
    assert (done.returncode, "already holds check.json" in done.stderr) == (2, True)
    done = cli("check", "port.py:Net", "--out", "here", "--overwrite")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == ["here/check.json", "here/report.html"]


@pytest.mark.usefixtures("checked")
def test_a_page_of_somebody_else_is_kept(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "port.py").write_text("import torch\n")
    (tmp_path / "report.html").write_text("<title>My thesis</title>")
    done = cli("check", "port.py:Net", "--out", ".", "--overwrite")
    assert done.returncode == 2
    assert "is not a report of this program" in done.stderr
    assert (tmp_path / "report.html").read_text() == "<title>My thesis</title>"
