"""Stored steps that are damaged: an error that names the file, or a verdict; never a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_runs import compared, copied, rewrite_arrays, trained

from mnist_mlp.errors import DivergedError, MnistMlpError, RunFolderError
from mnist_mlp.parity.compare.trace import FILE
from mnist_mlp.run.folder import Run

pytestmark = pytest.mark.usefixtures("in_process")

FIRST = "steps/1"


def damaged(runs: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a traced run, its stored steps changed."""
    folder = copied(trained("numpy", runs, trace=True), tmp_path / "damaged")
    rewrite_arrays(folder, FILE, change)
    return folder


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda a: a.clear(), RunFolderError, "does not fit the plan"),
        (lambda a: a.update({"steps": np.zeros(1)}), RunFolderError, "does not fit the plan"),
        (lambda a: a.pop(f"{FIRST}/loss"), RunFolderError, "does not fit the plan"),
        (lambda a: a.update({f"{FIRST}/loss/x": np.zeros(1)}), RunFolderError, "does not fit"),
        (lambda a: a.update({f"{FIRST}/loss": np.array("x")}), RunFolderError, "holds <U1"),
        (lambda a: a.pop(f"{FIRST}/shared/weights/layers.0.bias"), RunFolderError, "'weights' of"),
        (
            lambda a: a.update({f"{FIRST}/shared/weights/layers.0.bias": np.zeros((1, 1))}),
            RunFolderError,
            "'weights' of step 1 have other names or shapes",
        ),
        (
            lambda a: a.update({f"{FIRST}/shared/slots/velocity/layers.0.bias": np.zeros(1)}),
            RunFolderError,
            "'velocity' of step 1 have other names or shapes",
        ),
        (
            lambda a: a.update({f"{FIRST}/pre_activations/7": np.zeros((2, 2))}),
            RunFolderError,
            "more layers than the specification",
        ),
        (
            lambda a: a[f"{FIRST}/gradient/layers.0.bias"].fill(np.nan),
            DivergedError,
            "the gradient of layers.0.bias is not finite at step 1",
        ),
    ],
)
def test_damage_is_named(
    runs: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    kind: type[MnistMlpError],
    words: str,
) -> None:
    folder = damaged(runs, tmp_path, change)
    with pytest.raises(kind) as caught:
        compared(Run(folder), Run(folder), static=True)
    assert str(caught.value).startswith(f"{folder / FILE}: ")
    assert words in str(caught.value)


def test_a_row_that_the_data_set_does_not_have(runs: Path, tmp_path: Path) -> None:
    """Found by the data, if the folder does not record how many rows there are."""
    import json

    run = trained("numpy", runs)
    folder = copied(run, tmp_path / "altered")
    record = json.loads((folder / "run.json").read_text())
    del record["dataset"]["rows"]
    (folder / "run.json").write_text(json.dumps(record))

    def change(arrays: dict[str, Any]) -> None:
        arrays["ids"][-1] = 10**9

    rewrite_arrays(folder, "examples.npz", change)
    outcome = compared(run, Run(folder), static=True)
    assert outcome.exit_code == 1
    assert any("row 1000000000 is not in the data set" in str(item) for item in outcome.breaks)
