"""The keys of everything that programs read: `--json`, `compare.json` and `run.json`.

`json_keys.json` beside this file holds them, with the type of each value, as they were promised. A
key may be added there; one that goes, or changes its type, breaks somebody's program.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from finished_runs import SPEC, compared, trained
from typer.testing import CliRunner

from mnist_mlp import reference
from mnist_mlp.cli.app import app
from mnist_mlp.parity.check.port import Checked
from mnist_mlp.parity.cost import Cost, TrainedRun
from mnist_mlp.parity.findings import RUNGS, Break, Cause, Place
from mnist_mlp.parity.outcome import (
    Chaos,
    LayerRow,
    NamedSide,
    Outcome,
    Predictions,
    Proof,
    Rung,
    ShownLayer,
)
from mnist_mlp.ports.lines import UserLine

KEYS = json.loads((Path(__file__).parent / "json_keys.json").read_text(encoding="utf-8"))
PORT = "from keras import Model\n"
SMALL = ("--set", "model.layer_sizes=[30,9,4]", "--epochs", 2, "--progress", "none")


def keys_of(value: Any) -> Any:
    """The keys of a JSON value in their order; a type's name for each plain value."""
    match value:
        case dict():
            return {
                # A rung has the one, the other or neither: by what it was judged.
                key: "number or null" if key in ("margin", "compared") else keys_of(inner)
                for key, inner in value.items()
            }
        case list():
            kinds = [json.dumps(keys_of(inner)) for inner in value]
            return [json.loads(kind) for kind in sorted(set(kinds))]
        case None:
            return "null"
    return type(value).__name__


def strict(value: Any) -> Any:
    """As a program reads it."""
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.fixture
def ask(
    tmp_path: Path, idx_dir: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> Callable[..., Any]:
    """A command's JSON answer, given in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Any:
        options = ("--data-dir", idx_dir, "--json")
        done = CliRunner().invoke(app, [str(word) for word in (*words, *options)])
        assert done.exit_code in (0, 1, 6), done.output
        return json.loads(done.stdout)

    return call


SHOWN = ShownLayer(
    name="bn",
    kind="batch_norm",
    settings={"epsilon": "0.1"},
    output_shape="28x28x6",
    line=UserLine("train.py", 7, "x = 1", "layer"),
)


def everything() -> Outcome:
    """An outcome in which no field is left empty."""
    cause = Cause("weight_decay", "0.0001 on all tensors", "what it is", "weight_decay=0")
    found = Break(
        side="b",
        rung="update",
        place=Place(epoch=1, step=3, layer=2, tensor="bias"),
        size=9.5,
        batch="stress",
        cause=cause,
        lines={side: UserLine("train.py", 7, "x = 1", "layer") for side in ("b", "a")},
    )
    return Outcome(
        verdict="different",
        text="text",
        sides={"a": NamedSide(label="keras", path="x"), "b": NamedSide(label="torch", path="y")},
        rungs=tuple(
            Rung(name=name, status="noted", margin=0.5, compared=7, text="text") for name in RUNGS
        ),
        breaks=(found,),
        noted=(cause,),
        not_exercised=("clipping",),
        predictions=Predictions(total=100, different=3),
        report_identical=False,
        proof=Proof(
            status="failed", max_abs_difference=1e-3, bound=1e-10, reason="reason", further="a"
        ),
        layers=(LayerRow(a=SHOWN, b=SHOWN, differing=("epsilon",)),),
        chaos=Chaos(backend="keras", spread=(22, 31), different=3, explained=3, margin=1e-4),
    )


# --- What it holds --------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_process")
def test_run_json(runs: Path) -> None:
    content = json.loads((trained("numpy", runs).path / "run.json").read_text(encoding="utf-8"))
    assert keys_of(content) == KEYS["run.json"]


@pytest.mark.usefixtures("in_process")
def test_outcomes(runs: Path) -> None:
    numpy = trained("numpy", runs)
    outcomes = {
        "identical": compared(numpy, trained("stranger", runs)),
        "different": compared(numpy, trained("trees:Maple", runs)),
        "inconclusive": compared(numpy, trained("stranger", runs), static=True),
    }
    for verdict, outcome in outcomes.items():
        assert outcome.verdict == verdict
        assert keys_of(strict(outcome.document())) == KEYS[verdict], verdict
    assert outcomes["different"].breaks[0].cause.name == "weight_decay"


@pytest.mark.usefixtures("in_process")
def test_a_noted_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels times 1/255 are a last digit off: noted, and tolerated."""

    def scaled(images: Any, *, dtype: Any) -> Any:
        return images.astype(dtype) * np.dtype(dtype).type(1 / 255)

    changed = SimpleNamespace(**{**vars(reference), "scale_pixels": scaled})
    monkeypatch.setattr("mnist_mlp_numpy.backend.reference", changed)
    run = trained("numpy", tmp_path)
    outcome = compared(run, run)
    assert (outcome.verdict, outcome.rungs[1].status) == ("identical", "noted")
    assert keys_of(strict(outcome.document())) == KEYS["noted"]


def test_an_outcome_with_everything() -> None:
    assert keys_of(strict(everything().document())) == KEYS["everything"]


def test_compare(ask: Callable[..., Any]) -> None:
    one = ask("compare", "numpy", "stranger", *SMALL, "--out", "two")
    assert keys_of(one) == KEYS["compare --json"]
    assert json.loads(Path("two/compare.json").read_text(encoding="utf-8")) == one
    several = ask("compare", "two/numpy", "two/stranger", "two/numpy")
    assert keys_of(several) == KEYS["compare --json of three"]


def test_check(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainedRun(side="b", label="port.py", history={"loss": (0.5,)}, problem="none")
    cost = Cost(as_it_is=0.5, with_specified_start=0.75, runs=(run,))
    monkeypatch.setattr(
        "mnist_mlp.parity.check.port.check_port",
        lambda *_, **__: Checked(everything(), SPEC, cost),
    )
    Path("port.py").write_text(PORT, encoding="utf-8")
    assert keys_of(ask("check", "port.py:Port")) == KEYS["check --json"]


# --- The checker itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": None}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
        ({"a": []}, {"a": {}}),
        ({"a": True}, {"a": 1}),
    ],
)
def test_a_changed_key_is_seen(one: Any, other: Any) -> None:
    assert keys_of(one) != keys_of(other)
