"""Running a user's script up to its training, without any framework."""

from __future__ import annotations

import json
import pickle
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

from mnist_mlp.cli.check import names_of_sides
from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.ports import script
from mnist_mlp.ports.script import Catch, other_seeds, patched, run_script
from mnist_mlp.ports.source import read_source
from mnist_mlp.ports.user_code import is_script, path_of, split_target

FRAMEWORK = SimpleNamespace(fit=lambda *args: args, log=list[str]())
"""What the scripts here train with; they reach it by an attribute of `sys`."""


@contextmanager
def watching(catch: Catch) -> Iterator[None]:
    def fit(*args: object) -> object:
        catch.offer(lambda: args, args[0] if args else None)
        return "trained"

    with patched(FRAMEWORK, fit=fit):
        yield


@pytest.fixture(autouse=True)
def within_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script changes `sys`; its main module stays, and matplotlib's backend."""
    FRAMEWORK.log.clear()
    monkeypatch.setenv("MPLBACKEND", "agg")  # as a script finds it; it would stay
    monkeypatch.setattr(sys, "framework", FRAMEWORK, raising=False)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(folder: Path, text: str, *, name: str = "train.py", number: str = "") -> object:
    path = folder / name
    path.write_text("import sys\nfrom sys import framework as f\n" + dedent(text))
    return run_script(f"{path}{number}", watching)


def test_a_script_runs_to_its_training_and_no_further(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        if __name__ == "__main__":
            f.log.append("before")
            f.fit("model", 3)
            f.log.append("after")
        """,
    )
    assert found == ("model", 3)
    assert FRAMEWORK.log == ["before"]
    assert FRAMEWORK.fit("again") == ("again",)  # the framework is as it was


def test_handlers_and_final_lines_do_not_run(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        class Context:
            def __enter__(self):
                f.log.append("enter")
            def __exit__(self, *_):
                f.log.append("exit")

        def train():
            try:
                with Context():
                    f.fit(1)
            except:
                f.log.append("swallowed")
            finally:
                f.log.append("saved")

        train()
        f.log.append("after")
        """,
    )
    assert found == (1,)
    assert FRAMEWORK.log == ["enter", "exit"]  # what was entered is left


def test_a_script_has_its_own_main_module_arguments_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_the_script.py").write_text("WORD = 'found'\n")
    monkeypatch.setenv(script.ARGUMENTS, json.dumps(["--rate", "0.1"]))
    found = run(
        tmp_path,
        """
        import pickle
        from beside_the_script import WORD

        class Net:
            pass

        f.fit(WORD, sys.argv, __file__, pickle.dumps(Net()))
        """,
    )
    word, argv, file, pickled = found  # type: ignore[misc]
    assert (word, argv[1:], argv[0]) == ("found", ["--rate", "0.1"], file)
    assert type(pickle.loads(pickled)).__name__ == "Net"
    assert sys.argv[1:] != ["--rate", "0.1"]


def test_a_script_tells_when_it_leaves_its_outermost_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    lengths = []

    @contextmanager
    def counting(catch: Catch) -> Iterator[None]:
        catch.on_left = lambda: left.append(len(catch.loops))
        catch_of.append(catch)
        with watching(catch):
            yield

    def noted(number: object) -> None:
        lengths.append(list(catch_of[0].loops))

    catch_of: list[Catch] = []
    monkeypatch.setattr(FRAMEWORK, "noted", noted, raising=False)
    path = tmp_path / "train.py"
    path.write_text(
        dedent(
            """
            from sys import framework as f

            def epoch():
                for _ in range(2):
                    while True:
                        f.noted(1)
                        break
                    if f.log:
                        return

            for number in range(3):
                epoch()
                f.log.append(number)
            else:
                f.log.append("else")
            f.log.append("left")
            epoch()
            f.fit(1)
            """
        )
    )
    assert run_script(str(path), counting) == (1,)
    assert lengths == [[3, 2, None]] * 4 + [[2, None]]
    assert left == [0, 0]  # the loop over epochs, and the one in the last call
    assert FRAMEWORK.log == [0, 1, 2, "else", "left"]


def test_the_second_training_is_chosen_by_number(tmp_path: Path) -> None:
    text = "assert f.fit(1) == 'trained'\nf.fit(2)\n"
    assert run(tmp_path, text, number=":2") == (2,)
    assert run(tmp_path, text, number=":3") is None  # it never comes


TWO = """
    class Net:
        name = "sequential_1"

    def train(model, n):
        f.fit(model, n)

    wide, narrow = Net(), Net()
    train(wide, 1)
    train(narrow, 2)
    train(narrow, 3)
    later.fit(epochs=3)
    scaler.fit(1)
"""


@pytest.mark.parametrize(
    ("name", "number", "found"),
    [("", "", 1), ("wide", "", 1), ("narrow", "", 2), ("narrow", ":2", 3), ("Net", ":2", 2),
     ("sequential_1", "", 1), ("model", ":3", 3)],
)  # fmt: skip
def test_a_training_is_chosen_by_the_name_of_its_model(
    name: str, number: str, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of the script or of a function that it calls, its own name, or its class."""
    monkeypatch.setenv(script.MODEL, name)
    caught = run(tmp_path, TWO, number=number)
    assert isinstance(caught, tuple)
    assert caught[1] == found


def test_a_name_that_is_none_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(script.MODEL, "broad")
    catches: list[Catch] = []

    @contextmanager
    def noting(catch: Catch) -> Iterator[None]:
        catches.append(catch)
        with watching(catch):
            yield

    text = TWO.replace("    later.fit(epochs=3)\n    scaler.fit(1)\n", "")
    path = tmp_path / "train.py"
    path.write_text("from sys import framework as f\n" + dedent(text))
    assert run_script(str(path), noting) is None
    told = script.untrained(str(path), catches[0], "nothing")
    assert "it trains no model 'broad', but wide, narrow." in told
    assert "--model NAME (--model-a of the original, --model-b of the port)" in told
    assert "it ended without training: nothing was called." in (
        script.untrained(str(path), Catch(str(path)), "nothing")
    )


def test_other_trainings_are_told(tmp_path: Path) -> None:
    """By the script's code: a model of any name, or what is told how many epochs it has."""
    path = tmp_path / "train.py"
    path.write_text(
        "from sys import framework as f\n"
        "class Net: fit = f.fit\n"
        "one, two, scaler = Net(), Net(), object()\n"
        "f.fit(one)\n"
        "two.fit(1)\nscaler.fit(1)\nlater.fit(1, epochs=3)\nmore.fit(1)\n"
        "trainer.fit(third)\nf.fit(one, epochs=2)\n"
    )
    catches: list[Catch] = []

    @contextmanager
    def noting(catch: Catch) -> Iterator[None]:
        catches.append(catch)
        with watching(catch):
            yield

    run_script(str(path), noting)
    found = script.further_trainings(str(path), catches[0], lambda x: type(x).__name__ == "Net")
    assert found == ["two (line 5)", "later (line 7)", "third (line 9)"]
    path.write_text(
        "from sys import framework as f\n"
        "def train(n, net, x): f.fit(net, x)\n"
        "one, two, three, rows = 'one', 'two', 'three', []\n"
        "train(1, one, rows)\ntrain(2, two, rows)\ntrain(3, net=three, x=rows)\n"
    )
    run_script(str(path), noting)
    again = script.further_trainings(str(path), catches[1], lambda x: False)
    assert again == ["two (line 5)"]
    assert script.others_told(found) == (
        "the script's trainings of two (line 5), later (line 7), third (line 9), which --model "
        "NAME chooses",
    )
    assert script.others_told([]) == ()


def test_a_script_that_fails_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserCodeError, match=r"train\.py:3: ZeroDivisionError: division by zero"):
        run(tmp_path, "1 / 0")
    with pytest.raises(
        UsageError, match=r"ended itself before it trained \(exit code 2\)(?s:.*)--args-b"
    ):
        run(tmp_path, "sys.exit(2)")
    with pytest.raises(UsageError, match=r"asks for input"):
        run(tmp_path, "raise EOFError('EOF when reading a line')")


def test_other_seeds_are_set_where_a_script_sets_one(tmp_path: Path) -> None:
    text = "import random\nrandom.seed(7)\nf.fit(random.random())\n"
    own = run(tmp_path, text)
    assert run(tmp_path, text) == own
    with other_seeds(1, {}):
        other = run(tmp_path, text)
    random.seed(8)
    assert other == (random.random(),) != own


@pytest.mark.parametrize(
    ("target", "file", "scripted"),
    [
        ("a/train.py", "a/train.py", True),
        ("a/train.py:2", "a/train.py", True),
        ("a/book.ipynb", "a/book.ipynb", True),
        ("a/train.py:build", "a/train.py", False),
    ],
)
def test_targets(target: str, file: str, scripted: bool) -> None:
    assert split_target(target)[0] == file
    assert path_of(target) == Path(file)
    assert is_script(target) == scripted


# --- Notebooks ------------------------------------------------------------------------------------


def notebook(folder: Path, *cells: str | list[str], version: int = 4) -> Path:
    path = folder / "book.ipynb"
    made = [{"cell_type": "markdown", "source": "# Title"}]
    made += [{"cell_type": "code", "source": cell} for cell in cells]  # type: ignore[dict-item]
    path.write_text(json.dumps({"nbformat": version, "cells": made}))
    return path


def test_a_notebook_runs_cell_by_cell_without_its_magics(tmp_path: Path) -> None:
    path = notebook(
        tmp_path,
        "%matplotlib inline\n!pip install keras\nfrom sys import framework as f\nf.fit?",
        ["%%time\n", "if True:\n", "    !ls\n", "text = '''\n%d per cent\n'''"],
        "%%bash\necho hello",
        "files = !ls\nf.fit(text)\nf.log.append('after')",
    )
    assert run_script(str(path), watching) == ("\n%d per cent\n",)
    assert FRAMEWORK.log == []
    assert read_source(path).left_out == (
        f"{path}, cell 1: %matplotlib inline",
        f"{path}, cell 1: !pip install keras",
        f"{path}, cell 1: f.fit?",
        f"{path}, cell 2: %%time",
        f"{path}, cell 2: !ls",
        f"{path}, cell 3: %%bash (the whole cell)",
        f"{path}, cell 4: files = !ls",
    )


def test_an_error_in_a_notebook_names_cell_and_line(tmp_path: Path) -> None:
    path = notebook(tmp_path, "import keras_of_nobody_at_all as k", "")
    with pytest.raises(UserCodeError, match=r"book\.ipynb, cell 1:1: ModuleNotFoundError"):
        run_script(str(path), watching)
    path = notebook(tmp_path, "x = 1", "\n\ny = (")
    with pytest.raises(UsageError, match=r"book\.ipynb, cell 2:3: not valid Python"):
        parse_target(str(path))


@pytest.mark.parametrize("content", ['{"nbformat": 3, "worksheets": []}', "[]", "{"])
def test_what_is_no_notebook_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "book.ipynb"
    path.write_text(content)
    with pytest.raises(
        UsageError, match=r"book\.ipynb: (expected a notebook of format 4|not a no)"
    ):
        read_source(path)


# --- On the command line --------------------------------------------------------------------------


def test_a_data_set_of_the_other_framework_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "import torch\nfrom keras.datasets import mnist\nimport tensorflow.keras.datasets"
    )
    target = parse_target(str(path), arguments="--name 'two words'")
    assert (target.framework, target.text) == ("torch", str(path))
    assert target.arguments == ("--name", "two words")
    path.write_text("import torch\nfrom keras import layers")
    with pytest.raises(UsageError, match="imports both frameworks"):
        parse_target(str(path))
    with pytest.raises(UsageError, match="only a script takes arguments"):
        parse_target(f"{path}:Net", arguments="--epochs 1")
    with pytest.raises(UsageError, match="--model chooses among the trainings of a script"):
        parse_target(f"{path}:Net", model="net")


@pytest.mark.parametrize(
    ("models", "both", "each", "names"),
    [
        (["a.py", "b.py"], "net", ("", ""), ["net", "net"]),
        (["a.py:build", "b.py:2"], "net", ("", ""), ["", "net"]),
        (["a.py", "b.py"], "net", ("own", ""), ["own", "net"]),
        (["b.py"], "", ("", "own"), ["own"]),
    ],
)
def test_a_model_is_named_for_both_scripts_or_one(
    models: list[str], both: str, each: tuple[str, str], names: list[str]
) -> None:
    assert names_of_sides(models, both, each) == names
    with pytest.raises(UsageError, match=r"--model net: .* none was given"):
        names_of_sides(["a.py:build"], "net", ("", ""))


def test_a_loop_over_training_and_validation_repeats_nothing() -> None:
    catch = Catch("train.py")
    entered, over, left = (catch.names()[f"__loop_{x}__"] for x in ("entered", "over", "left"))
    for things in (range(6), ["train", "val"], range(10)):
        entered()
        over(things)
    assert catch.epochs_over(10) == 6
    left()
    left()
    entered()
    over(range(10))  # behind the loop over names
    assert catch.epochs_over(10) == 6
