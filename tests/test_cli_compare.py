"""`compare`: verdict, exit code and files, for runs that match and for runs that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from mnist_mlp.contract import Capabilities, Environment
from mnist_mlp.errors import MissingPackagesError
from mnist_mlp.parity.matrix import as_table
from mnist_mlp.run.folder import Run

Cli = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def compare(cli: Cli, idx_dir: Path) -> Callable[..., tuple[int, Any]]:
    """Compare on the small data: exit code and JSON answer."""

    def call(*words: object) -> tuple[int, Any]:
        small = ("--set", "model.layer_sizes=[30,9,4]", "--epochs", 3, "--batch-size", 32)
        options = ("--learning-rate", 0.5, "--data-dir", idx_dir, "--progress", "none", "--json")
        done = cli("compare", *small, *options, *words)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)

    return call


def side(answer: Any, key: str) -> list[str]:
    """The path, or the label, of both sides."""
    return [answer["sides"][name][key] for name in "ab"]


def different_predictions(one: Path, other: Path) -> int:
    classes = [np.load(path / "predictions.npz")["logits"].argmax(axis=1) for path in (one, other)]
    return int((classes[0] != classes[1]).sum())


def test_the_same_backend_twice_is_identical(compare: Any, tmp_path: Path) -> None:
    code, answer = compare("numpy", "numpy", "--out", "both")
    assert (code, answer["verdict"]) == (0, "identical")
    assert answer["predictions"] == {"total": 63, "different": 0}
    assert answer["report_identical"] is True
    assert side(answer, "label") == ["numpy", "numpy"]
    assert side(answer, "path") == ["both/numpy", "both/numpy-2"]
    both = tmp_path / "both"
    assert {path.name for path in both.iterdir()} == {
        "numpy",
        "numpy-2",
        "compare.json",
        "report.html",
    }
    assert json.loads((both / "compare.json").read_text()) == answer
    for name in ("weights.safetensors", "predictions.npz", "report.txt"):
        left, right = ((both / run / name).read_bytes() for run in ("numpy", "numpy-2"))
        assert left == right


def test_two_backends_with_one_mathematics(compare: Any, tmp_path: Path) -> None:
    code, answer = compare("numpy", "stranger", "--out", "both")
    assert (code, answer["verdict"]) == (0, "identical")
    both = tmp_path / "both"
    assert answer["predictions"]["different"] == 0
    assert Run(both / "stranger").label == "stranger"
    left, right = (Run(both / name).weights for name in ("numpy", "stranger"))
    assert any((left[name] != right[name]).any() for name in left)  # other code has run


def test_a_planted_fault_is_found(compare: Any, tmp_path: Path) -> None:
    """PyTorch's own initial weights: nothing fails or warns, and the runs are not the same."""
    code, answer = compare("numpy", "faulty_backends:TorchDefaultsBackend", "--out", "both")
    assert (code, answer["verdict"]) == (1, "different")
    counted = different_predictions(tmp_path / "both/numpy", tmp_path / "both/torchdefaultsbackend")
    assert answer["predictions"] == {"total": 63, "different": counted}
    assert counted > 5
    assert answer["report_identical"] is False
    assert json.loads((tmp_path / "both" / "compare.json").read_text()) == answer


def test_another_seed_is_different(compare: Any, tmp_path: Path) -> None:
    _, _ = compare("numpy", "numpy", "--out", "one")
    code, answer = compare("one/numpy", "numpy", "--seed", 43, "--out", "two")
    assert (code, answer["verdict"]) == (1, "different")
    assert "seed" in json.dumps(answer)
    code, answer = compare("one/numpy", "one/numpy-2")
    assert (code, answer["verdict"]) == (0, "identical")
    assert not (tmp_path / "runs").exists()


def test_more_than_two_sides_are_compared_with_the_first(compare: Any, tmp_path: Path) -> None:
    faulty = "faulty_backends:TorchDefaultsBackend"
    code, answer = compare("numpy", "numpy", faulty, "numpy", "--out", "four")
    assert (code, answer["verdict"]) == (1, "different")
    assert [side(pair, "path") for pair in answer["comparisons"]] == [
        ["four/numpy", f"four/{name}"] for name in ("numpy-2", "torchdefaultsbackend", "numpy-4")
    ]
    verdicts = [pair["verdict"] for pair in answer["comparisons"]]
    assert verdicts == ["identical", "different", "identical"]
    matrix = answer["matrix"]
    assert matrix["runs"] == ["numpy", "numpy-2", "torchdefaultsbackend", "numpy-4"]
    assert matrix["verdicts"] == [None, *verdicts]
    apart = np.array(matrix["largest_difference"])
    np.testing.assert_array_equal(apart, apart.T)
    assert (apart[2, [0, 1, 3]] > 1e-3).all()
    assert not apart[np.ix_([0, 1, 3], [0, 1, 3])].any()
    assert all(seconds > 0 for seconds in matrix["fit_s"])
    names = {path.name for path in (tmp_path / "four").iterdir()}
    runs = {"numpy", "numpy-2", "numpy-4", "torchdefaultsbackend"}
    assert names == runs | {"compare.json", "report.html"}


def test_the_matrix_as_text() -> None:
    content = {
        "runs": ["keras", "torch", "other"],
        "verdicts": [None, "identical", "different"],
        "fit_s": [1.234, 0.5, None],
        "largest_difference": [[0.0, 2.1e-7, None], [2.1e-7, 0.0, None], [None, None, 0.0]],
    }
    assert as_table(content).splitlines()[:4] == [
        "       against keras  training      to keras  to torch  to other",
        "keras                 1.23 s        0.0e+00   2.1e-07   -",
        "torch  identical      0.50 s        2.1e-07   0.0e+00   -",
        "other  different      not recorded  -         -         0.0e+00",
    ]


def test_compare_all_takes_what_can_train_here(
    cli: Cli, idx_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        "numpy": "mnist_mlp_numpy:NumpyBackend",
        "stranger": "stranger_backend:StrangerBackend",
    }
    found: dict[str, Any] = {
        "numpy": (Capabilities(), Environment({})),
        "stranger": (Capabilities(), Environment({})),
        "absent": MissingPackagesError("needs nothing that exists"),
        "limited": (Capabilities(precisions=("float64",)), Environment({})),
    }
    for module in ("mnist_mlp.registry", "mnist_mlp.worker.parent"):
        monkeypatch.setattr(f"{module}.installed", lambda: names)
    monkeypatch.setattr("mnist_mlp.worker.asking.described", lambda _: found)
    words = ("--data-dir", idx_dir, "--set", "model.layer_sizes=[30,9,4]", "--epochs", 1)
    options = ("--out", "all", "--accelerator", "cpu")
    done = cli("compare", "all", *words, *options)
    assert done.returncode == 0, done.stderr
    assert "all: without absent: needs nothing that exists" in done.stderr
    assert "all: without limited: does not support precision float32" in done.stderr
    assert {path.name for path in Path("all").iterdir() if path.is_dir()} == {"numpy", "stranger"}
    assert "numpy (a) against stranger (b): IDENTICAL" in done.stdout


def test_compare_all_of_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"numpy": (Capabilities(), Environment({}))}
    monkeypatch.setattr("mnist_mlp.worker.asking.described", lambda _: found)
    done = cli("compare", "all")
    assert done.returncode == 2
    assert "compare needs at least two sides, but got 1: numpy" in done.stderr


def test_compare_all_of_those_that_can_use_a_gpu(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu = Capabilities(accelerators=("cpu", "gpu"))
    found = {
        "cpu-only": (Capabilities(), Environment({}, gpus=("a GPU",))),
        "sees-none": (with_gpu, Environment({})),
        "numpy": (with_gpu, Environment({}, gpus=("a GPU",))),
    }
    monkeypatch.setattr("mnist_mlp.worker.asking.described", lambda _: found)
    done = cli("compare", "all", "--accelerator", "gpu")
    assert done.returncode == 2
    assert "backend 'cpu-only' cannot use a GPU" in done.stderr
    assert "backend 'sees-none' finds no GPU here" in done.stderr
    assert "at least two sides, but got 1: numpy" in done.stderr


def test_a_folder_against_a_backend(compare: Any, cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    words = ("--set", "model.layer_sizes=[30,9,4]", "--epochs", 3, "--batch-size", 32)
    options = ("--learning-rate", 0.5, "--data-dir", idx_dir, "--out", "earlier")
    assert cli("--backend", "stranger", *words, *options).returncode == 0
    record = (tmp_path / "earlier" / "run.json").read_bytes()
    code, answer = compare("./earlier", "numpy", "--out", "mixed")
    assert (code, answer["verdict"]) == (0, "identical")
    assert side(answer, "path") == ["earlier", "mixed/numpy"]
    made = {"numpy", "compare.json", "report.html"}
    assert {path.name for path in (tmp_path / "mixed").iterdir()} == made
    assert (tmp_path / "earlier" / "run.json").read_bytes() == record
    code, answer = compare("numpy", "earlier")  # a bare word that holds a run.json
    assert (code, answer["verdict"]) == (0, "identical")
    (runs,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in runs.iterdir()} == made


def test_the_text_for_people(cli: Cli, finished_run: Path, idx_dir: Path, tmp_path: Path) -> None:
    words = ("compare", finished_run, finished_run, "--data-dir", idx_dir)
    done = cli(*words)
    assert done.returncode == 0
    assert "IDENTICAL" in done.stdout.upper()
    assert "0 of 63" in done.stdout
    assert Run(finished_run).report_text.rstrip() in done.stdout
    assert done.stdout.splitlines()[-1] == str(finished_run)
    assert not list(tmp_path.iterdir())
    done = cli(*words, "--out", "here")
    assert done.stdout.splitlines()[-2:] == ["here/compare.json", "here/report.html"]
    page = (tmp_path / "here" / "report.html").read_text()
    assert "made the same training run; all 63 predictions agree." in page
    assert json.loads((tmp_path / "here" / "compare.json").read_text())["verdict"] == "identical"


def test_a_taken_folder_is_refused_before_anything_is_trained(
    cli: Cli, idx_dir: Path, tmp_path: Path
) -> None:
    """The second side's folder is taken; the first must not have been trained for nothing."""
    (tmp_path / "both" / "stranger").mkdir(parents=True)
    (tmp_path / "both" / "stranger" / "run.json").write_text("{}")
    words = ("--set", "model.layer_sizes=[30,9,4]", "--data-dir", idx_dir, "--out", "both")
    done = cli("compare", "numpy", "stranger", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "both/stranger: already holds a run; add --overwrite" in done.stderr
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["stranger"]


def test_a_side_that_fails_is_no_verdict(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    words = ("--set", "model.layer_sizes=[30,9,4]", "--data-dir", idx_dir, "--out", "both")
    done = cli("compare", "numpy", "faulty_backends:ExitingBackend", *words, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["kind"] == "BackendError"
    assert not (tmp_path / "both" / "compare.json").exists()
    # The other training is not waited for: it may be done, and it may not have begun its folder.
    folder = tmp_path / "both" / "numpy"
    if folder.exists():
        assert Run(folder, complete=False).record.status in ("complete", "interrupted")


def test_a_page_that_cannot_be_made_costs_no_verdict(
    cli: Cli, finished_run: Path, idx_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnist_mlp.errors import UsageError

    def refuse(*_: object, **__: object) -> None:
        raise UsageError("no page today")

    monkeypatch.setattr("mnist_mlp.report.write_report", refuse)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "report.html").write_text("of an earlier comparison")
    words = ("--data-dir", idx_dir, "--out", "here", "--overwrite")
    done = cli("compare", finished_run, finished_run, *words)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "here/compare.json"
    assert "here/report.html was not written: no page today" in done.stderr
    assert not (tmp_path / "here" / "report.html").exists()
