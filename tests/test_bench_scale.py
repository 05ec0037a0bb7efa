"""Scale series on planted laws, the profile on planted parts, and figures that repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_mlp.bench import profile, scale, sgemm
from mnist_mlp.bench.cases import Choice
from mnist_mlp.bench.figures import figure_files
from mnist_mlp.bench.record import Case, Document, Sample
from mnist_mlp.bench.render import as_data, as_text
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.spec import Spec

CHOICE = Choice(backends=("numpy",), threads=1)


def document(cases: list[Case], seconds: dict[str, float], **changes: Any) -> Document:
    """A sitting in which every process of a case takes these seconds an epoch, give or take."""
    samples = [
        Sample(
            case=key,
            round=number,
            place=1,
            epochs_s=(value, value * 1.01, value),
            phases={"trained_s": value, "process_s": value},
        )
        for key, value in seconds.items()
        for number in (1, 2, 3)
    ]
    content: dict[str, Any] = {
        "kind": "scale",
        "started": "2026-01-01T00:00:00+00:00",
        "rounds": 3,
        "seed": 0,
        "train_rows": 52_500,
        "test_rows": 17_500,
        "dataset": {"name": "mnist"},
        "environment": {"processor": "a processor", "cores": 2},
        "cases": tuple(cases),
        "samples": tuple(samples),
        **changes,
    }
    return Document(**content)


def axis_document(axis: str, law: Any) -> Document:
    points = scale.POINTS[axis]
    cases = scale.scale_cases(Spec(), CHOICE, axis=axis, points=points)
    seconds = {case.key: law(case.point) for case in cases}
    return document(cases, seconds, axis=axis)


# --- Scale ----------------------------------------------------------------------------------------


def test_a_power_law_gives_its_slope() -> None:
    x = (64, 128, 256, 512)
    line = scale.fit("a", x, [0.001 * n**1.5 for n in x], [n**1.5 for n in x])
    assert line.slope == pytest.approx(1.5)
    assert line.slope_error == pytest.approx(0, abs=1e-9)
    assert line.ideal_slope == pytest.approx(1.5)
    assert (line.low, line.high) == (64, 512)
    assert line.words == "on it throughout"


def test_an_overhead_per_epoch_leaves_the_line_below() -> None:
    """0.1 s + 1 us a row: 1.25 times the line of the largest is crossed at about 400,000 / 1.25."""
    x = (1000, 10_000, 100_000, 300_000, 700_000)
    y = [0.1 + 1e-6 * n for n in x]
    line = scale.fit("a", x, y, x)
    # y / x over the best, 1.143 us: 88, 9.6, 1.75, 1.17, 1.
    assert (line.low, line.high) == (300_000, 700_000)
    assert line.words == "leaves it below 300,000 (at 100,000: 1.75 x)"


def test_a_cache_that_overflows_leaves_the_line_above() -> None:
    x = (1, 2, 4, 8, 16)
    line = scale.fit("a", x, [1, 2, 4, 12, 16], x)
    # The last point is on the line again, but beyond one that is not.
    assert (line.low, line.high) == (1, 4)
    assert line.words == "leaves it above 4 (at 8: 1.50 x)"


def test_fewer_than_three_points_have_no_slope() -> None:
    line = scale.fit("a", (1, 2), (1, 2), (1, 2))
    assert line.slope is None


@pytest.mark.parametrize("axis", scale.POINTS)
def test_every_axis_makes_specifications(axis: str) -> None:
    found = {case.point: case for case in axis_document(axis, float).cases}
    assert tuple(found) == scale.POINTS[axis]
    point, case = list(found.items())[3]
    spec = case.spec
    training, at_point = spec.training, {"width": 512, "batch": 256, "rows": 70_000, "epochs": 10}
    assert point == at_point[axis]
    assert spec.model.layer_sizes == (
        (784, 512, 256, 10) if axis == "width" else (784, 128, 64, 10)
    )
    assert training.batch_size == (256 if axis == "batch" else 128)
    assert spec.data.rows == (70_000 if axis == "rows" else "all")
    assert case.epochs == (9 if axis == "epochs" else 7)


def test_work_is_the_axis_own() -> None:
    """Time in proportion to the work lies on the line: arithmetic, nothing, rows, epochs."""
    spec = Spec()

    def arithmetic(width: int) -> float:
        return 1e-12 * sgemm.flops(scale.at(spec, axis="width", point=width), rows=52_500)

    laws = {"width": arithmetic, "batch": lambda _: 0.5, "epochs": lambda n: 0.3 * n}
    for axis, law in laws.items():
        (line,) = scale.series(axis_document(axis, law))
        assert line.words == "on it throughout", axis
    (line,) = scale.series(axis_document("batch", lambda n: 4 / n))
    assert line.slope == pytest.approx(-1)
    assert line.ideal_slope == pytest.approx(0)


def test_points_are_checked() -> None:
    assert scale.checked_points("width", None)[-1] == 4096
    assert scale.checked_points("rows", "700_000,10_000") == (10_000, 700_000)
    for axis, text in (
        ("widht", None),
        ("width", "a"),
        ("width", "0"),
        ("rows", "5"),
        ("rows", ""),
        ("batch", "2147483648"),
        ("width", "9" * 5000),
    ):
        with pytest.raises(UsageError):
            scale.checked_points(axis, text)


def test_rows_that_do_not_fit_into_the_memory(small_data: Dataset) -> None:
    with pytest.raises(UsageError, match=r"2,000,000,000 rows of 30 pixels take 55\.9 GiB, but"):
        scale.tiled(small_data, 2_000_000_000)


def test_rows_are_repeated(small_data: Dataset) -> None:
    tiled = scale.tiled(small_data, 600)
    assert len(tiled) == 600
    assert np.array_equal(tiled.images[250:500], small_data.images)
    assert np.array_equal(tiled.labels[500:], small_data.labels[:100])
    assert "3 times over" in tiled.source


# --- The limit ------------------------------------------------------------------------------------


def test_flops_of_the_tutorial() -> None:
    """Forward and the kernels' gradients for all layers, the inputs' for all but the first."""
    by_hand = 4 * 784 * 128 + 6 * 128 * 64 + 6 * 64 * 10
    assert sgemm.flops(Spec(), rows=52_500) == by_hand * 52_500
    assert 23e9 < by_hand * 52_500 < 25e9


def test_the_products_run_over_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 rows are 7 batches of 128 and one of 104, 8 products each."""
    shapes = []

    def matmul(a: np.ndarray, b: np.ndarray, *, out: np.ndarray) -> None:
        assert out.shape == (a.shape[0], b.shape[1])
        shapes.append((*a.shape, b.shape[1]))

    epoch = sgemm.epoch_of_products(Spec(), rows=1000)
    monkeypatch.setattr(sgemm.np, "matmul", matmul)
    epoch()
    assert len(shapes) == 8 * 8
    assert sum(2 * n * k * m for n, k, m in shapes) == sgemm.flops(Spec(), rows=1000)
    assert shapes[-1] == (784, 104, 128)


# --- Profile --------------------------------------------------------------------------------------


def profile_document() -> Document:
    cases = profile.profile_cases(Spec(), CHOICE, train_rows=52_500)
    times = dict(zip(profile.VERSIONS, (1.0, 0.9, 0.4, 0.1, 0.02), strict=True))
    seconds = {f"numpy/cpu/fast/profile-{name}": value for name, value in times.items()}
    return document(cases, {**seconds, "limit/sgemm": 0.25}, kind="profile")


def test_a_profile_adds_up_to_the_epoch() -> None:
    (found,) = profile.profiles(profile_document())
    expected = {"validation": 0.1, "layers": 0.5, "steps": 0.3, "rows": 0.08, "epoch": 0.02}
    assert found.parts == pytest.approx(expected)
    assert sum(found.parts.values()) == pytest.approx(found.whole_s)
    text = as_text(profile_document())
    assert "500.0 (50%)" in text
    assert "250.0 ms" in text


def test_each_version_is_smaller_by_one_thing() -> None:
    whole, training, narrow, one_step, one_batch, _ = profile_document().cases
    assert (whole.validated, training.validated) == (True, False)
    assert training.spec == whole.spec
    assert narrow.spec.model.layer_sizes == (784, 1, 1, 10)
    assert one_step.spec.training.batch_size == 52_500
    assert one_step.spec.model == narrow.spec.model
    assert (one_batch.train_rows, one_batch.spec) == (128, narrow.spec)


# --- Figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cases", "scale", "profile"])
def test_the_same_file_gives_the_same_bytes(kind: str) -> None:
    made = profile_document() if kind == "profile" else axis_document("width", lambda n: 1e-3 * n)
    made = made.model_copy(update={"kind": kind})
    files = figure_files(made)
    assert files == figure_files(Document.model_validate_json(made.model_dump_json()))
    assert sorted(files) == ["bench.png", "bench.svg"]
    assert files["bench.png"].startswith(b"\x89PNG")
    assert len(as_data(made)["results"]["cases"]) == len(made.cases)
    # Another value gives another figure.
    changed = [s.model_copy(update={"epochs_s": (9.0,)}) for s in made.samples if s.round == 1]
    assert figure_files(made.model_copy(update={"samples": tuple(changed)})) != files


def test_nothing_measured_is_no_figure() -> None:
    assert figure_files(axis_document("width", float).model_copy(update={"samples": ()})) == {}
