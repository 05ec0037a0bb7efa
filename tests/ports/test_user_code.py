"""What the hosts of ports share: blaming the right line, finding rows by content, counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.ports.epoch_counts import EpochCounts
from mnist_mlp.ports.find_rows import Finder, find
from mnist_mlp.ports.protocol import OwnPass, Rows
from mnist_mlp.ports.rows import RowTable, packed, read_pass
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
        ("raise KeyboardInterrupt\n", 1, "KeyboardInterrupt: no message"),
        ("raise BaseException('no')\n", 1, "BaseException: no"),
        ("raise GeneratorExit\n", 1, "GeneratorExit: no message"),
        (
            "class E(Exception):\n    def __str__(self): return 1 / 0\nraise E\n",
            3,
            "E: its text raises ZeroDivisionError",
        ),
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
        RowTable().add(np.zeros(()))


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
    rows = packed([np.ascontiguousarray(change(images[order] / 255)).reshape(64, -1)])
    np.testing.assert_array_equal(find(rows, Rows(images)), order)


def test_strange_rows_are_not_found(images: Array) -> None:
    x = images[:4] / 255
    x[1] = 0.5 * (x[1] + x[2])
    found = find(Rows(x), Rows(images))
    assert found.tolist() == [0, -1, 2, 3]
    assert (find(Rows(np.full((2, 30), np.nan)), Rows(images)) == -1).all()
    assert (find(Rows(np.zeros((2, 29))), Rows(images)) == -1).all()


def test_equal_rows_take_turns_within_an_epoch(images: Array) -> None:
    doubled = images.copy()
    doubled[7] = doubled[3]
    labels = np.zeros(len(images), np.int64)
    rows = Rows(doubled[[3, 1]] / 255)
    finder = Finder(doubled, labels, rows)
    own = OwnPass((np.array([0, 1]), np.array([0])), np.zeros(3, np.int64))
    for _ in range(2):
        assert [batch.tolist() for batch in finder.positions(own)] == [[3, 1], [7]]


def test_of_equal_rows_each_label_finds_its_own(images: Array) -> None:
    """MNIST has an image that occurs twice, with two labels."""
    doubled = images.copy()
    doubled[7] = doubled[3]
    labels = np.zeros(len(images), np.int64)
    labels[7] = 5
    finder = Finder(doubled, labels, Rows(doubled[[3]] / 255))
    own = OwnPass((np.array([0, 0]),), np.array([5, 0]))
    assert finder.positions(own)[0].tolist() == [7, 3]


def test_rows_of_numbers_that_are_no_pixels_are_found() -> None:
    """Each is compared as it is given: stretched to 0 .. 1, short rows are all alike."""
    draw = np.random.default_rng(4)
    table = draw.normal(size=(300, 3)) * [1.0, 1e-2, 50.0]
    order = draw.permutation(300)
    np.testing.assert_array_equal(find(Rows(table[order].astype(np.float32)), Rows(table)), order)


def test_a_table_keeps_each_row_once_and_exactly(images: Array) -> None:
    table = RowTable()
    x = (images[:40].astype(np.float32) / 255 - 0.1307) / 0.3081
    first = read_pass([(x[:30], np.arange(30), None), (x[20:], np.arange(20), None)], table)
    assert [batch.tolist() for batch in first.batches] == [list(range(30)), list(range(20, 40))]
    rows = table.rows()
    assert rows.levels is not None
    assert rows.values.dtype == np.uint8
    np.testing.assert_array_equal(rows.take(np.arange(40)), x)
    with pytest.raises(UsageError, match="rows of 29 values, but the rows before had 30"):
        table.add(np.zeros((2, 29)))


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
