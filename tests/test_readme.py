"""The README's commands are run, and its configuration is parsed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documents import blocks

from mnist_mlp.spec import parse_spec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SET_UP = {"make run", "make test"}


def commands() -> list[list[str]]:
    """Every command of a shell block, without its comment."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


COMMANDS = [words for words in commands() if " ".join(words) not in SET_UP]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's paths exist, and where runs may be left."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_the_make_commands_are_there_and_are_targets() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {" ".join(words) for words in commands()} >= SET_UP
    for command in SET_UP:
        assert re.search(rf"^{command.split()[1]}:", make, flags=re.MULTILINE)


def _of(words: list[str]) -> object:
    """Processes that train together take a minute on two cores."""
    marks = [pytest.mark.long] if "--devices" in words else []
    return pytest.param(words, marks=marks, id=" ".join(words))


@pytest.mark.parametrize("words", [_of(words) for words in COMMANDS])
def test_command(words: list[str], copy: Path, mnist_dir: Path) -> None:
    """In the README's order: later ones use what earlier ones left."""
    assert words[:3] == ["python", "-m", "mnist_mlp"]
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=copy,
        env=os.environ | {"MNIST_MLP_DATA": str(mnist_dir)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    if "gpu" in words:
        assert done.returncode == 3 or "device" in told, told
    elif "check" in words:
        assert done.returncode == 1, told
        assert "torch_default_kernel_init" in done.stdout
        assert "torch_default_bias_init" in done.stdout
    else:
        assert done.returncode == 0, told
        assert done.stdout.strip()


def test_the_shown_specification_is_valid() -> None:
    (text,) = blocks(README, "toml")
    spec = parse_spec(tomllib.loads(text))
    assert spec.name == "example"
