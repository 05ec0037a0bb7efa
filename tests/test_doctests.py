"""The examples in the docstrings of the public API are run, without any framework."""

from __future__ import annotations

import doctest
import sys
from importlib import import_module
from pathlib import Path

import pytest

FRAMEWORKS = {"keras", "lightning", "tensorflow", "torch"}

MODULES = (
    "mnist_mlp.api",
    "mnist_mlp.evaluate.evidence",
    "mnist_mlp.evaluate.measures",
    "mnist_mlp.reference",
    "mnist_mlp.spec",
    "mnist_mlp.sweep.cases",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_answer_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder, where examples may leave runs."""
    monkeypatch.chdir(tmp_path)
    loaded = FRAMEWORKS & sys.modules.keys()
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted >= 2
    assert result.failed == 0  # pytest shows what doctest printed
    assert FRAMEWORKS & sys.modules.keys() == loaded


def test_a_wrong_example_fails() -> None:
    case = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(case, out=lambda _: None).failed == 1
