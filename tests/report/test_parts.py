"""The parts: tables, curves, the case of the generalisation gap, digits, the port map."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import classification_report

from mnist_mlp.evaluate import History, confusion_matrix
from mnist_mlp.parity.causes.catalogue import catalogue
from mnist_mlp.report import report_html, scores
from mnist_mlp.report.curves import ACCURACY, LOSS, difference_text, differences, draw
from mnist_mlp.report.digits import gallery
from mnist_mlp.report.gap import diagnose
from mnist_mlp.report.portmap import port_map
from mnist_mlp.report.sides import read_sides
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_to_bytes
from mnist_mlp.settings import resolve
from mnist_mlp.spec import Spec, parse_spec

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))

# --- Classification report and confusion ----------------------------------------------------------


def test_the_numbers_are_those_of_scikit_learn() -> None:
    """With a class that is never predicted, and one that does not occur."""
    rng = np.random.default_rng(1)
    y_true, y_pred = rng.integers(0, 4, 200), rng.integers(1, 6, 200)
    expected = classification_report(
        y_true, y_pred, labels=list(range(6)), output_dict=True, zero_division=0
    )
    found = scores.report_values(confusion_matrix(y_true, y_pred, classes=6))
    assert found.pop("accuracy") == (None, None, expected.pop("accuracy"), 200)
    assert list(found) == list(expected)
    for name, row in expected.items():
        columns = ("precision", "recall", "f1-score", "support")
        assert found[name] == pytest.approx([row[column] for column in columns])


def test_the_table_is_the_report_of_the_folder(example: Any) -> None:
    """The numbers of `report.txt`, and marks exactly where two such files differ."""
    left, right = (_report_rows(run) for run in example.twins.runs)
    rows = example.page.by_id("scores").one("tbody").all("tr")
    marks = 0
    for row in rows:
        name, cells = row.all("th")[0].text, row.all("td")
        values = [cell.text.removeprefix("≠differs: ").replace(",", "") for cell in cells]
        values = [value for value in values if value]
        assert values[0::2] == left[name]
        assert values[1::2] == right[name]
        marked = [bool("differs" in cell.classes) for cell in cells if cell.text]
        assert marked[0::2] == [False] * len(left[name])
        assert marked[1::2] == [x != y for x, y in zip(left[name], right[name], strict=True)]
        marks += sum(marked)
    assert 0 < marks < len(rows) * 4
    assert example.page.by_id("scores").text.startswith(
        f"Classification report {marks} cells differ"
    )


def _report_rows(run: Any) -> dict[str, list[str]]:
    """Numbers by row name, from the text that scikit-learn makes of a folder."""
    from mnist_mlp.evaluate.report import report_text
    from mnist_mlp.run.evaluation import evidence

    lines = report_text(evidence(run)).splitlines()
    found = (re.fullmatch(r" *(\w+(?: avg)?)((?: +[\d.]+)+)", line) for line in lines)
    return {match[1]: match[2].split() for match in found if match}


def test_confusion_cells_that_differ_are_marked(example: Any) -> None:
    left, right = read_sides(example.twins.runs)
    first, second = example.page.by_id("confusion").all("table", "matrix")
    assert not first.all("td", "differs")
    marked = [
        [("differs" in cell.classes) for cell in row.all("td")]
        for row in second.one("tbody").all("tr")
    ]
    assert marked == (left.confusion != right.confusion).tolist()


def test_equal_runs_share_one_matrix_and_have_no_marks(twins: Any, read_page: Any) -> None:
    page = read_page(report_html(twins.runs))
    assert len(page.by_id("confusion").all("table", "matrix")) == 1
    assert not page.all("td", "differs")
    assert "The reports are identical, digit for digit." in page.by_id("scores").text


def test_specifications_that_differ_are_marked(twins: Any, read_page: Any) -> None:
    twins.edit("right", lambda record: record["spec"]["optimizer"].update(learning_rate=0.25))
    section = read_page(report_html(twins.runs)).by_id("compared")
    marked = [cell.text for cell in section.all("td", "differs")]
    assert marked[0] == "≠differs: sgd, learning rate 0.25, momentum 0.5"
    assert len(marked) == 2  # and the digest


def test_more_than_two_runs_in_one_table(twins: Any, read_page: Any) -> None:
    """Verdict, time and largest differences; nothing of the kind for two runs."""
    assert ">All runs <" not in report_html(twins.runs)
    third = twins.folder / "third"
    shutil.copytree(twins.folder / "left", third)
    twins.edit("third", lambda record: record["backend"].update(name="third"))
    twins.edit("third", lambda record: record["timings"].update(fit_s=2.5))
    path = third / "weights.safetensors"
    weights = dict(load_file(path))
    weights["layers.0.kernel"][0, 0] += 0.25
    path.write_bytes(tensors_to_bytes(weights))
    twins.compared("equivalent")
    table = read_page(report_html([*twins.runs, Run(third)])).by_id("compared").all("table")[0]
    assert table.one("caption").text.startswith("All runs")
    rows = [[cell.text for cell in row.all("td")] for row in table.one("tbody").all("tr")]
    assert [row[0] for row in rows] == ["", "equivalent", "-"]
    assert rows[2][1] == "2.50 s"
    assert [row[2:] for row in rows] == [
        ["0", "0", "0.25"],
        ["0", "0", "0.25"],
        ["0.25", "0.25", "0"],
    ]


# --- Curves ---------------------------------------------------------------------------------------


def test_differences_are_told_with_the_rounding_level(twins: Any) -> None:
    path = twins.folder / "right" / "history.csv"
    left, right = read_sides(twins.runs)
    told = difference_text(left, right, LOSS)
    assert told == "left and right have the same validation cross-entropy loss throughout."
    header, first, second, *rest = path.read_text().splitlines()
    values = second.split(",")
    values[3] = repr(float(values[3]) + 0.0625)
    path.write_text("\n".join([header, first, ",".join(values), *rest]) + "\n")
    left, right = read_sides(twins.runs)
    assert differences(left, right, LOSS, validation=True) == pytest.approx([0, 0.0625, 0])
    assert not differences(left, right, ACCURACY, validation=True).any()
    rounding = np.finfo(np.float32).eps * left.evidence.history.val_loss[1]
    assert difference_text(left, right, LOSS) == (
        "The validation cross-entropy loss of left and right differs by at most 0.062, at epoch 2; "
        f"one float32 rounding there is {rounding:.2g}."
    )
    svg = draw([left, right], LOSS, name="loss").svg
    assert "one float32 rounding" in svg
    assert "one test row" not in svg
    assert "one test row" in draw([left, right], ACCURACY, name="accuracy").svg
    assert "Difference" not in draw([left], LOSS, name="loss").svg


# --- Generalisation -------------------------------------------------------------------------------

FALLING = [2.0, 1.0, 0.5, 0.3, 0.2, 0.15, 0.1, 0.08]


@pytest.mark.parametrize(
    ("loss", "val_loss", "gap", "kind", "epoch"),
    [
        (FALLING, [1.9, 0.9, 0.5, 0.4, 0.45, 0.5, 0.55, 0.6], 0.05, "overfitting", 5),
        # One bad epoch at the end, or an uphill stretch that is made good, is no trend.
        (FALLING, [1.9, 0.9, 0.5, 0.4, 0.3, 0.2, 0.11, 0.6], 0.0, "together", None),
        (FALLING, [1.9, 0.9, 0.5, 0.7, 0.8, 0.5, 0.3, 0.11], 0.0, "together", None),
        (FALLING, [1.9, 0.9, 0.5, 0.4, 0.3, 0.25, 0.2, 0.19], 0.02, "parting", None),
        # The loss has parted, the accuracy hardly: still together.
        (FALLING, [1.9, 0.9, 0.5, 0.4, 0.3, 0.25, 0.2, 0.19], 0.005, "together", None),
        ([2.3, 2.2, 2.1, 2.0], [2.3, 2.2, 2.1, 2.0], 0.0, "underfitting", None),
        ([2.0, 0.5, 1.0, 2.0, 3.0], [2.0, 0.5, 1.0, 2.0, 3.0], 0.0, "unstable", None),
        ([2.0, 0.1], [2.0, 0.1], 0.0, "short", None),
        ([], [], 0.0, "none", None),
    ],
)
def test_which_case_it_is(
    loss: list[float], val_loss: list[float], gap: float, kind: str, epoch: int | None
) -> None:
    n = len(loss)
    history = History(
        loss=loss, val_loss=val_loss, accuracy=[0.9] * n, val_accuracy=[0.9 - gap] * n
    )
    case = diagnose(history, classes=10)
    assert (case.kind, case.epoch) == (kind, epoch)
    assert case.sentence.endswith(".")


def test_the_case_and_its_thresholds_are_on_the_page(example: Any) -> None:
    section = example.page.by_id("generalisation")
    (case,) = section.all("p", "case")  # the same case for both runs is told once
    assert case.text
    assert "more than 5 % above its lowest value" in section.one("p", "note").text
    assert "Generalisation gap" in section.one("svg").one("title").text


# --- Digits ---------------------------------------------------------------------------------------


def test_the_flipped_digits_and_no_others(example: Any) -> None:
    sides = read_sides(example.twins.runs)
    found = gallery(sides)
    assert found.flipped
    ids = sides[0].evidence.ids
    assert sorted(digit.row_id for digit in found.digits) == sorted(ids[example.flipped].tolist())
    for digit, item in zip(found.digits, example.page.one("ul", "gallery").all("li"), strict=True):
        row = int(np.flatnonzero(ids == digit.row_id)[0])
        for side, opinion, told in zip(
            sides, digit.opinions, item.all("p", "opinion"), strict=True
        ):
            logits = side.evidence.logits[row].astype(float)
            share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            assert opinion.predicted == int(logits.argmax())
            assert opinion.probability == f"{100 * share.max():.2f}\N{NO-BREAK SPACE}%"
            assert told.text.startswith(f"{side.label} {opinion.predicted}")
        assert [opinion.right for opinion in digit.opinions] == [False, True]


def test_without_a_flip_the_most_confident_mistakes(twins: Any) -> None:
    found = gallery(read_sides(twins.runs))
    assert not found.flipped
    shares = [float(digit.opinions[0].probability.split()[0]) for digit in found.digits]
    assert len(shares) == min(found.total, 24) > 3
    assert all(one >= other - 0.1 for one, other in pairwise(shares))
    assert all(
        len({opinion.probability for opinion in digit.opinions}) == 1 for digit in found.digits
    )


def test_rows_of_other_data_are_not_matched(twins: Any, read_page: Any) -> None:
    """Equal ids in another data set mean other images."""
    twins.put_right(rows=2)
    twins.edit("right", lambda record: record["dataset"].update(sha256="0" * 64))
    section = read_page(report_html(twins.runs)).by_id("digits")
    assert "right was tested on other rows and is left out here." in section.text
    assert {node.text.split()[0] for node in section.all("p", "opinion")} == {"left"}


# --- Port map -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_part_of_every_configuration_is_mapped(path: Path) -> None:
    spec = resolve(config=path).spec
    rows = {row.part: row for row in port_map(spec)}
    layers = [part for part in rows if part.startswith("Layer")]
    assert len(layers) == len(spec.model.layers)
    names = [trap.name for row in rows.values() for trap in row.traps]
    assert len(names) == len(set(names))
    assert {"torch_default_kernel_init", "softmax_twice"} <= set(names) <= set(catalogue())
    for key, part in (
        ("momentum", "Momentum"),
        ("weight_decay", "Weight decay"),
        ("clip_norm", "Clipping"),
        ("schedule", "Learning rate schedule"),
    ):
        assert bool(getattr(spec.optimizer, key)) == (part in rows)
    assert ("Adam" in rows) == (spec.optimizer.name == "adam")
    assert ("Early stopping" in rows) == (spec.training.patience > 0)


def test_the_calls_hold_the_values_of_the_specification() -> None:
    spec = parse_spec(
        {
            "model": {
                "layer_sizes": [20, 7, 5, 3],
                "activations": ["leaky_relu(0.2)", "gelu", "softmax"],
            },
            "optimizer": {"learning_rate": 0.125, "momentum": 0.75, "nesterov": True},
            "training": {
                "batch_size": 48,
                "precision": "float64",
                "patience": 4,
                "min_delta": 0.002,
            },
        }
    )
    rows = {row.part: row for row in port_map(spec)}
    first, second = rows["Layer 0: 20 to 7"], rows["Layer 1: 7 to 5"]
    assert first.keras == "Dense(7); LeakyReLU(negative_slope=0.2)"
    assert first.torch == "x = nn.Linear(20, 7)(x); x = F.leaky_relu(x, negative_slope=0.2)"
    assert [trap.name for trap in first.traps + second.traps] == [
        "leaky_relu_slope",
        "gelu_tanh_approximation",
    ]
    assert rows["SGD"].torch == "torch.optim.SGD(self.parameters(), lr=0.125)"
    assert rows["Momentum"].keras == "SGD(..., momentum=0.75, nesterov=True)"
    assert "batch_size=48" in rows["Batches"].torch
    assert 'precision="64-true"' in rows["Precision"].torch
    for call in (rows["Early stopping"].keras, rows["Early stopping"].torch):
        assert call.startswith('EarlyStopping("val_loss", patience=4, min_delta=0.002)  # ')
    assert not {"Precision", "Early stopping"} & {row.part for row in port_map(Spec())}
