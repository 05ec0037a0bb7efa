"""A share of the table of cases; `make cases` runs them all. And whether the table sees wrongs."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from case_rows import Answer, Row, faults_of, kinds, table
from case_world import CASES, World, made, world
from cases_table import page, run

from mnist_mlp.data import Dataset
from mnist_mlp.data.idx import read_folder

ROWS = table()
SHARE = [row for row in ROWS if row.share]


# --- The share ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made_here:
        yield made_here


@pytest.mark.parametrize("row", SHARE, ids=lambda row: row.name)
def test_check_says_what_is_right(row: Row, here: World) -> None:
    ran = run(row, here)
    assert not ran.wrong, ran.line


# --- The table ------------------------------------------------------------------------------------


def test_the_table_is_whole() -> None:
    """Each folder has a row, each row its files and names; no name stands twice."""
    folders = {path.parent.name for path in CASES.glob("*/original.py")}
    assert {row.place for row in ROWS} == folders
    assert max(Counter(row.name for row in ROWS).values()) == 1
    for row in ROWS:
        for target in (row.original, row.port):
            file, _, name = target.partition(":")
            tree = ast.parse((CASES / row.place / file).read_text(encoding="utf-8"))
            assert name in {
                node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
            }, f"{row.name}: {target}"


def test_data_pairs_are_as_often_faithful_as_faulty() -> None:
    truths = Counter(row.truth for row in ROWS if row.place == "data")
    assert min(truths["faithful"], truths["faulty"]) >= 20


def test_no_pair_of_a_kind_that_is_judged_may_be_refused() -> None:
    """Data and order are what the checker is for: there, a refusal is no way out."""
    assert not [row.name for row in ROWS if row.place == "data" and row.refusal]


def test_the_folders_hold_the_data(small_data: Dataset, tmp_path: Path) -> None:
    there = made(tmp_path, small_data, train=200)
    images, labels = read_folder(Path(there.environment["MNIST_MLP_DATA"]))
    np.testing.assert_array_equal(images, small_data.images)
    np.testing.assert_array_equal(labels, small_data.labels)
    unpacked, _ = read_folder(Path(there.environment["TORCHVISION_DATA"]) / "MNIST" / "raw")
    np.testing.assert_array_equal(unpacked, small_data.images)
    with np.load(Path(there.environment["KERAS_HOME"]) / "datasets" / "mnist.npz") as kept:
        assert len(kept["y_train"]) == 200
        np.testing.assert_array_equal(kept["x_test"], small_data.images[200:])


# --- Planted answers ------------------------------------------------------------------------------

FAITHFUL = Row(
    name="a", truth="faithful", cause="-", judged=["order"], words=["but for the data"],
    open=["init"],
)  # fmt: skip
FAULTY = Row(
    name="b", truth="faulty", cause="-", causes=[["not_shuffled"], ["adam_epsilon"]],
    also=["init"], never=["plan"], rungs=["order"], refusal=[["Dropout"], ["RMSprop"]],
)  # fmt: skip
NOTED = Row(name="c", truth="noted", cause="-", noted=["he_normal"])


def answer(
    code: int | None,
    *breaks: tuple[str, str],
    text: str = "Identical, but for the data.",
    noted: tuple[str, ...] = (),
    unseen: tuple[str, ...] = ("init",),
    err: str = "starting keras for original.py:build\n",
) -> Answer:
    """As `check --json` answers."""
    if code not in (0, 1, 6):
        return Answer(code, "", err)
    rungs = {
        name: {"status": "not_exercised" if name in unseen else "clean", "margin": 0, "text": ""}
        for name in ("data", "order", "init")
    }
    document = {
        "verdict": {0: "identical", 1: "different", 6: "inconclusive"}[code],
        "text": text,
        "breaks": [
            {"rung": rung, "tensor": None, "cause": {"name": name, "value": None, "text": ""}}
            for rung, name in breaks
        ],
        "rungs": rungs,
        "noted": [{"name": name, "value": None, "text": ""} for name in noted],
        "not_exercised": [],
    }
    return Answer(code, json.dumps(document), err)


BOTH = (("order", "not_shuffled"), ("update", "adam_epsilon_placement"))


@pytest.mark.parametrize(
    ("row", "given"),
    [
        (FAITHFUL, answer(0)),
        (FAULTY, answer(1, *BOTH)),
        (FAULTY, answer(1, *BOTH, ("update", "unknown"))),
        (FAULTY, answer(2, err="error: no judge yet for Dropout and RMSprop")),
        (FAULTY, answer(6, text="Not judged: dropout, rmsprop.")),
        (NOTED, answer(0, noted=("he_normal",))),
        (NOTED, answer(1, ("init", "he_normal"))),
    ],
)
def test_right_answers(row: Row, given: Answer) -> None:
    assert faults_of(row, given) == []


@pytest.mark.parametrize(
    ("row", "given", "kind"),
    [
        (FAULTY, answer(0), "false verdict"),
        (FAITHFUL, answer(1, ("order", "not_shuffled")), "false verdict"),
        (NOTED, answer(0), "false verdict"),
        (FAULTY, answer(1, *BOTH[:1]), "cause"),
        (FAULTY, answer(1, *BOTH, ("loss", "softmax_twice")), "cause"),
        (FAULTY, answer(1, *BOTH, ("update", "rows of the plan: unknown")), "cause"),
        (FAULTY, answer(1, *reversed(BOTH)), "rung"),
        (FAULTY, answer(1, ("order", "unknown")), "cause"),
        (FAITHFUL, answer(0, text="Identical."), "not said"),
        (FAITHFUL, answer(0, unseen=()), "not said"),
        (FAITHFUL, answer(0, unseen=("order", "init")), "not judged"),
        (FAITHFUL, answer(2, err="error: no judge yet for Dropout"), "not judged"),
        (FAITHFUL, answer(6, text="No step could be judged."), "not judged"),
        (FAULTY, answer(2, err="error: this model is not supported"), "refusal"),
        (FAULTY, answer(2, err="error: no judge yet for Dropout"), "refusal"),
        (FAULTY, answer(2, err="Dropout RMSprop " * 200), "refusal"),
        (FAULTY, answer(6, text="Not judged: Dropout."), "refusal"),
        (FAULTY, answer(2, err="<keras.Dropout object at 0x7f> RMSprop"), "crash"),
        (FAULTY, answer(3, err="error: port.py: ValueError: Dropout, RMSprop"), "crash"),
        (FAULTY, answer(70, err="Traceback (most recent call last):\n  Dropout RMSprop"), "crash"),
        (FAULTY, Answer(1, "", "Dropout RMSprop"), "crash"),
        (FAITHFUL, Answer(0, "", ""), "crash"),
        (FAITHFUL, answer(-9, err=""), "crash"),
        (FAULTY, answer(None), "no end"),
    ],
)
def test_wrong_answers(row: Row, given: Answer, kind: str) -> None:
    assert kinds(faults_of(row, given)) == [kind]


def test_progress_names_nothing() -> None:
    """A refusal is not in words because a file is called after a layer."""
    told = "starting keras for Dropout/RMSprop.py:build\nerror: not supported"
    assert faults_of(FAULTY, answer(2, err=told))


def test_the_words_of_a_json_error_count() -> None:
    error = {"schema_version": 1, "exit_code": 2, "error": {"kind": "", "message": "Dropout only"}}
    given = Answer(2, json.dumps(error), "RMSprop")
    assert faults_of(FAULTY, given) == ["refusal: refused, and does not name RMSprop"]


def test_the_page_counts() -> None:
    from cases_table import Ran

    given = answer(0)
    ran = [Ran(row, given, faults_of(row, given)) for row in (FAITHFUL, FAULTY)]
    told = page(ran, data="digits", of=3)
    assert "2 of 3 rows, data set digits" in told
    assert "**1 right, 1 wrong** (1 false verdict)." in told
    assert "| right |" in told
    assert "**wrong**: false verdict" in told
