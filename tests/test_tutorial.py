"""The flagship on real MNIST: the tutorial's network, 10 epochs, in every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from mnist_mlp.data import MNIST_DIGEST, Dataset
from mnist_mlp.run.folder import Run


@pytest.fixture
def runs(tutorial_runs: dict[str, Run]) -> dict[str, Run]:
    return tutorial_runs


def test_the_data_is_mnist(mnist: Dataset, runs: dict[str, Run]) -> None:
    assert mnist.digest == MNIST_DIGEST
    for run in runs.values():
        assert run.dataset.train_rows == 52_500
        assert run.dataset.test_rows == 17_500


def test_reports_and_every_prediction_are_identical(runs: dict[str, Run]) -> None:
    texts = {run.report_text for run in runs.values()}
    assert len(texts) == 1
    predictions = [run.predictions["logits"].argmax(axis=1) for run in runs.values()]
    for other in predictions[1:]:
        assert int((other != predictions[0]).sum()) == 0
    # They are three float32 runs, not one copied three times.
    logits = [run.predictions["logits"] for run in runs.values()]
    assert not np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[1], logits[2])


def test_accuracy_is_the_tutorial_s(runs: dict[str, Run]) -> None:
    for run in runs.values():
        assert 0.66 <= run.metrics.accuracy <= 0.79


def test_report_files_are_equal_byte_for_byte(runs: dict[str, Run]) -> None:
    for name in ("report.txt", "report.json", "figures/confusion.svg", "figures/confusion.png"):
        contents = {(run.path / name).read_bytes() for run in runs.values()}
        assert len(contents) == 1, name


@pytest.mark.parametrize("figure", ["curves", "weights"])
def test_other_figures_differ_by_two_grey_levels_at_most(runs: dict[str, Run], figure: str) -> None:
    images: list[Any] = [
        np.asarray(imread(run.path / f"figures/{figure}.png") * 255, np.int64)
        for run in runs.values()
    ]
    for other in images[1:]:
        gap = np.abs(other - images[0])
        assert gap.max() <= 2
        assert (gap > 0).mean() <= 1e-3
