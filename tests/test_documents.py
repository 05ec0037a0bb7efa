"""The pages' commands are run, and print what the pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from documents import Shown, alike, assert_prints, shown

from mnist_mlp.run.folder import Run

ROOT = Path(__file__).parent.parent
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
SHOWN = [(name, command) for name, page in PAGES.items() for command in shown(page)]

MAKE_RUN = "compare runs/tutorial/keras runs/tutorial/torch --out runs/tutorial --overwrite"
"""What `make run` ends with, once both backends have trained."""

Printed = Callable[[tuple[str, ...]], str]


@pytest.fixture(scope="session")
def printed(
    tutorial_runs: dict[str, Run], mnist_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Printed:
    """What a command prints on stdout, where the pages' paths exist; run once in a session."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "runs" / "tutorial").mkdir(parents=True)
    for name in ("keras", "torch"):
        (folder / "runs" / "tutorial" / name).symlink_to(tutorial_runs[name].path)

    @cache
    def run(words: tuple[str, ...]) -> str:
        if words == ("make", "run"):
            words = ("python", "-m", "mnist_mlp", *MAKE_RUN.split())
        assert words[0] == "python", words
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=folder,
            env=os.environ | {"MNIST_MLP_DATA": str(mnist_dir)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr[-1500:]
        assert "Traceback" not in done.stderr, done.stderr[-1500:]
        return done.stdout

    return run


def _of(name: str, command: Shown) -> object:
    """Long are those that train or judge a script of each framework, as the share of the tables of
    pairs and scripts does on smaller ones."""
    long = "check" in command.words
    marks = [pytest.mark.long] if long else []
    return pytest.param(name, command, marks=marks, id=f"{name}: {' '.join(command.words)}")


@pytest.mark.parametrize(("page", "command"), [_of(*shown) for shown in SHOWN])
def test_a_command_prints_what_is_shown(page: str, command: Shown, printed: Printed) -> None:
    del page
    assert_prints(command.output, printed(command.words))


def test_what_make_run_does_is_what_is_shown() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-m mnist_mlp compare keras torch --out runs/tutorial --overwrite" in make


def test_links_lead_somewhere() -> None:
    for name, page in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page):
            if not target.startswith(("http://", "https://")):
                assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"


def test_nothing_is_left_to_fill_in() -> None:
    for name, page in PAGES.items():
        assert "@@" not in page, name
        assert "Not measured yet" not in page, name
        assert "Not written yet" not in page, name


# --- The checker itself ---------------------------------------------------------------------------


def test_alike() -> None:
    assert alike("accuracy 0.7256", ["accuracy  0.7251"])
    assert not alike("accuracy 0.7256", ["accuracy 0.6256"])
    assert not alike("0 of 17500 differ", ["3 of 17500 differ"])
    assert not alike("identical", ["different"])
    assert alike("it took 3.1 s", ["it took 9.4 s"])
    assert not alike("x", [])


def test_what_is_not_printed_is_told() -> None:
    assert_prints(("a", "...", "c"), "a\nb\nb\nc\nd")
    with pytest.raises(AssertionError, match="not printed"):
        assert_prints(("a", "c"), "a\nb\nc")
    with pytest.raises(AssertionError, match="not printed"):
        assert_prints(("...", "e"), "a\nb")
