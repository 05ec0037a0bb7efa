"""The tutorial is a notebook: it runs, and what stands in it is what it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mnist_mlp.data import load_dataset
from mnist_mlp.data.idx import write_idx

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"

MACHINE = re.compile(
    r"/(home|root|tmp|Users|work|usr|opt|var)/|[A-Z]:\\|\b\d+(\.\d+)? ?(ms|s|seconds)\b|20\d\d-\d\d"
)
"""What differs from machine to machine: paths, times, dates."""

VERDICTS = ("IDENTICAL", "DIFFERENT", "IDENTICAL")
"""Of the two runs, of the textbook port, and of the mended one."""

ROWS = 2000


def outputs(book: Any) -> list[str]:
    """What each code cell has printed and shown, as text."""
    found = []
    for cell in book.cells:
        if cell.cell_type == "code":
            shown = [
                each.text if each.output_type == "stream" else "".join(each.data.values())
                for each in cell.outputs
            ]
            found.append("\n".join(shown))
    return found


def verdicts(book: Any) -> list[str]:
    """In the order in which they were found."""
    return [
        word
        for text in outputs(book)
        for word in re.findall(r"<b>[^<]*: (IDENTICAL|DIFFERENT|INCONCLUSIVE|EQUIVALENT)</b>", text)
    ]


def test_what_stands_in_the_notebook_is_of_no_machine() -> None:
    book = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(book)
    assert tuple(verdicts(book)) == VERDICTS
    for text in outputs(book):
        assert not MACHINE.search(text), MACHINE.search(text)
    assert MACHINE.search("in /tmp/x") and MACHINE.search("took 3.2 s")


@pytest.mark.filterwarnings("ignore")  # of packages that a notebook brings along
@pytest.mark.long
def test_the_notebook_runs_and_finds_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On fewer digits, in a process of its own as Jupyter has it."""
    digits = load_dataset("digits")
    data = tmp_path / "data"
    data.mkdir()
    for name, rows in (("train", slice(0, 1500)), ("t10k", slice(1500, ROWS))):
        write_idx(data / f"{name}-images-idx3-ubyte", digits.images[rows])
        write_idx(data / f"{name}-labels-idx1-ubyte", digits.labels[rows])
    monkeypatch.setenv("MNIST_MLP_DATA", str(data))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(NOTEBOOK, 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
    assert tuple(verdicts(book)) == VERDICTS
    shown = outputs(book)
    ported = next(text for text in shown if "DIFFERENT" in text)
    for words in (
        "torch_default_kernel_init",
        "nn.init.xavier_uniform_(layer.weight)",
        "rung init",
    ):
        assert words in ported
    assert f"({ROWS}, 28, 28)" in shown[0]
