"""Finding the line of a user's code that made or called something, without any framework."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_mlp.ports import lines
from mnist_mlp.ports.lines import UserLine, line_of, line_of_function, marking, note, noted


class Layer:
    """A class of a framework's: it marks what is made of it."""

    def __init__(self, *_: object) -> None:
        self.made = True


@pytest.fixture(autouse=True)
def as_a_framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Layer, "__init__", marking(Layer.__init__))
    monkeypatch.setattr(sys, "framework", SimpleNamespace(Layer=Layer, note=note), raising=False)
    yield
    lines.follow(Path("nobody.py"))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a user's file; its names."""

    def run(text: str, name: str = "user.py", *, follow: bool = True) -> dict[str, Any]:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        if follow:
            lines.follow(path)
        names = {"f": sys.framework}  # type: ignore[attr-defined]
        exec(compile(text, str(path), "exec"), names)
        return names

    return run


def test_the_line_where_something_is_made(run: Callable[..., dict[str, Any]]) -> None:
    names = run("a = 1\n\nlayers = [\n    f.Layer(\n        3),\n    f.Layer(4),\n]\n")
    found = [line_of(layer) for layer in names["layers"]]
    assert [x and (x.line, x.text, x.role) for x in found] == [
        (4, "f.Layer(", "layer"),
        (6, "f.Layer(4),", "layer"),
    ]


def test_a_class_of_the_users_is_where_it_is_called(run: Callable[..., dict[str, Any]]) -> None:
    """Not where its `__init__` calls the framework's; what that makes beside itself is there."""
    names = run(
        "class Own(f.Layer):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner = f.Layer()\n"
        "own = Own()\n"
    )
    own = names["own"]
    assert (line_of(own).line, line_of(own.inner).line) == (5, 4)


def test_what_nobody_of_the_users_made_has_no_line(run: Callable[..., dict[str, Any]]) -> None:
    run("pass\n")
    assert line_of(Layer()) is None
    assert line_of(None) is None
    assert line_of_function(test_what_nobody_of_the_users_made_has_no_line, "loader") is None


def test_another_users_file_is_not_the_users(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    run("pass\n", "mine/user.py")
    names = run("layer = f.Layer()\n", "elsewhere.py", follow=False)
    assert line_of(names["layer"]) is None


def test_a_file_below_is_told_from_where_the_users_is(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    Path("user.py").touch()
    lines.follow(Path("user.py"))
    names = run("\nlayer = f.Layer()\n", "parts/net.py", follow=False)
    assert str(line_of(names["layer"])) == "parts/net.py:2: layer = f.Layer()"


def test_the_last_call_counts_and_another_file_forgets_it(
    run: Callable[..., dict[str, Any]],
) -> None:
    run("f.note('fit')\n\nf.note('fit')\n")
    found = noted("fit")
    assert found is not None
    assert (found.line, found.role) == (3, "fit")
    run("pass\n", "other.py")
    assert noted("fit") is None


def test_a_long_line_is_cut(run: Callable[..., dict[str, Any]]) -> None:
    names = run(f"layer = f.Layer({', '.join(['1'] * 200)})\n")
    line = line_of(names["layer"])
    assert line is not None
    assert len(line.text) == lines.LONGEST
    assert line.text.endswith("...")


def test_a_function_begins_where_it_is_defined(run: Callable[..., dict[str, Any]]) -> None:
    names = run("\n\ndef loader():\n    return 1\n")
    line = line_of_function(names["loader"], "loader")
    assert line is not None
    assert (line.line, line.text) == (3, "def loader():")


def test_a_mark_is_plain_so_that_a_pickle_needs_nothing_of_ours(
    run: Callable[..., dict[str, Any]],
) -> None:
    names = run("layer = f.Layer()\n")
    (mark,) = [v for k, v in vars(names["layer"]).items() if k.startswith(lines.MARK)]
    assert [type(part) for part in (mark, *mark)] == [tuple, str, int]
    assert b"mnist_mlp" not in pickle.dumps(mark)


def test_a_line_is_written_as_editors_read_it() -> None:
    assert str(UserLine("train.py", 34, "self.bn = nn.BatchNorm2d(32)")) == (
        "train.py:34: self.bn = nn.BatchNorm2d(32)"
    )
