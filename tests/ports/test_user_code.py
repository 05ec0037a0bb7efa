"""What the hosts of ports share: blaming the right line, finding rows by content, counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.ports.epoch_counts import EpochCounts
from mnist_mlp.ports.rows import RowFinder
from mnist_mlp.ports.user_code import load_object, user_errors
from mnist_mlp.reference import Array


@pytest.fixture(scope="module")
def images() -> Array:
    return np.random.default_rng(0).integers(0, 256, (300, 30)).astype(np.uint8)


def written(folder: Path, text: str, *, name: str = "their_port.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


# --- Loading --------------------------------------------------------------------------------------


def test_an_object_is_loaded_and_finds_its_neighbours(tmp_path: Path) -> None:
    written(tmp_path, "WIDTH = 12\n", name="their_sizes.py")
    path = written(tmp_path, "from their_sizes import WIDTH\nmodel = WIDTH + 1\n")
    assert load_object(f"{path}:model") == 13


def test_a_name_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "class Network: pass\n")
    with pytest.raises(UsageError, match=r"has no 'Netwrok'.*Network"):
        load_object(f"{path}:Netwrok")


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("x = 1\n\nraise ValueError('no')\n", 3, "ValueError: no"),
        ("import sys\nsys.exit(4)\n", 2, "SystemExit: 4"),
        ("def f(:\n", 1, "SyntaxError"),
        ("import json\n\n\njson.loads('{')\n", 4, "JSONDecodeError"),
        ("assert 1 > 2\n", 1, "AssertionError: no message"),
    ],
)
def test_an_error_names_the_users_own_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserCodeError) as caught:
        load_object(f"{path}:x")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert told in str(caught.value)


def test_a_line_in_a_neighbouring_file_is_named(tmp_path: Path) -> None:
    helper = written(tmp_path, "def work():\n    return 1 / 0\n", name="their_helper.py")
    path = written(tmp_path, "import their_helper\ntheir_helper.work()\n")
    with pytest.raises(UserCodeError, match=rf"{helper.name}:2: ZeroDivisionError"):
        load_object(f"{path}:x")


def test_a_line_known_from_the_text_alone_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "x = 1\n")
    text = f'in user code:\n\n    File "{path}", line 7, in step\n\n    TypeError: not this\n'
    with pytest.raises(UserCodeError) as caught, user_errors(path):
        raise RuntimeError(text)
    assert str(caught.value) == f"{path}:7: RuntimeError: TypeError: not this"


def test_an_error_of_our_own_stays_what_it_is(tmp_path: Path) -> None:
    """Whatever the file of this project that raised it is called."""
    path = written(tmp_path, "x = 1\n")
    with pytest.raises(TypeError, match="unsized"), user_errors(path):
        RowFinder(np.zeros((1, 4), np.uint8)).find(np.zeros(()))


# --- Rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x * 255,
        lambda x: (x - 0.1307) / 0.3081,
        lambda x: 2 * x - 1,
        lambda x: 1 - x,
        lambda x: (x * 255).astype(np.uint8),
        lambda x: x.astype(np.float32) * np.float32(1 / 255) * 255,
        lambda x: x.reshape(-1, 1, 6, 5),
        lambda x: x.reshape(-1, 6, 5).transpose(0, 2, 1),
    ],
)
def test_rows_are_found_whatever_was_done_to_the_pixels(change: object, images: Array) -> None:
    order = np.random.default_rng(1).permutation(len(images))[:64]
    assert callable(change)
    np.testing.assert_array_equal(RowFinder(images).find(change(images[order] / 255)), order)


def test_strange_rows_are_not_found(images: Array) -> None:
    x = images[:4] / 255
    x[1] = 0.5 * (x[1] + x[2])
    found = RowFinder(images).find(x)
    assert found[1] == -1
    assert (RowFinder(images).find(np.full((2, 30), np.nan)) == -1).all()
    assert (RowFinder(images).find(np.zeros((2, 29))) == -1).all()


def test_equal_rows_take_turns_within_an_epoch(images: Array) -> None:
    doubled = images.copy()
    doubled[7] = doubled[3]
    finder = RowFinder(doubled)
    for _ in range(2):
        finder.start_epoch()
        assert finder.find(doubled[[7, 1]] / 255).tolist() == [3, 1]
        assert finder.find(doubled[[3]] / 255).tolist() == [7]


# --- Counting -------------------------------------------------------------------------------------


def test_an_epoch_is_counted() -> None:
    counts = EpochCounts(classes=3)
    logits = np.eye(3)[[0, 1, 1, 2]]
    labels = np.array([0, 1, 2, 2], np.uint8)
    counts.train(0.5, labels, logits)
    counts.validation(9.0, labels, logits)
    counts.restart_validation()
    counts.validation(0.25, labels[:3], logits[:3])
    epoch = counts.finish(4, {"loss": 0.5})
    assert (epoch.epoch, epoch.reported) == (4, {"loss": 0.5})
    assert (epoch.losses.tolist(), epoch.rows.tolist(), epoch.correct.tolist()) == ([0.5], [4], [3])
    assert (epoch.val_losses.tolist(), epoch.val_rows.tolist()) == ([0.25], [3])
    np.testing.assert_array_equal(epoch.val_confusion, [[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert len(counts.finish(5, {}).rows) == 0
