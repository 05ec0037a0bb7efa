"""The command line's manners: what it prints where, what it loads, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from mnist_mlp.cli import COMMANDS
from mnist_mlp.cli.app import app
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import Spec

Cli = Callable[..., CompletedProcess[str]]

CONFIGS = Path(__file__).parent.parent / "configs"
SMALL = ("--backend", "numpy", "--set", "model.layer_sizes=[30,9,4]", "--epochs", "2")
FRAMEWORKS = {"jax", "keras", "lightning", "tensorflow", "torch", "torchmetrics", "torchvision"}


def document(text: str) -> dict[str, Any]:
    """The one JSON document of a text that holds nothing else."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    value: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return value


def test_the_checker_of_json_sees_what_is_not_strict() -> None:
    for text in ('{"a": NaN}', "{} {}", 'done\n{"a": 1}'):
        with pytest.raises((AssertionError, json.JSONDecodeError)):
            document(text)


# --- train ----------------------------------------------------------------------------------------


def test_no_command_means_train(cli: Cli, idx_dir: Path, tmp_path: Path, no_figures: None) -> None:
    done = cli(*SMALL, "--data-dir", idx_dir, "--out", "mine")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "mine"
    assert Run(tmp_path / "mine").report_text.rstrip() in done.stdout
    assert "187 training and 63 test rows" in done.stdout
    told = done.stderr.splitlines()
    assert told[0] == "numpy: starting"
    assert "other data than MNIST" in told[1]
    assert told[-1].startswith("numpy: epoch 2/2 ")
    assert "epoch" not in done.stdout


def test_without_out_a_folder_under_runs(
    cli: Cli, idx_dir: Path, tmp_path: Path, no_figures: None
) -> None:
    paths = set()
    for _ in range(2):
        done = cli("train", *SMALL, "--data-dir", idx_dir, "--progress", "none")
        path = Path(done.stdout.splitlines()[-1])
        assert path.parts[0] == "runs"
        assert path.name.endswith("-tutorial-numpy") or "-tutorial-numpy-" in path.name
        assert Run(tmp_path / path).label == "numpy"
        paths.add(path)
    assert len(paths) == 2


def test_json_is_one_document(cli: Cli, idx_dir: Path, tmp_path: Path, no_figures: None) -> None:
    done = cli(*SMALL, "--data-dir", idx_dir, "--out", "mine", "--json", "--precision", "float64")
    assert done.returncode == 0
    answer = document(done.stdout)
    assert answer.pop("path") == "mine"
    assert answer == json.loads((tmp_path / "mine" / "run.json").read_text())
    assert answer["spec"]["training"]["precision"] == "float64"
    assert "numpy: epoch 2/2 " in done.stderr


@pytest.mark.parametrize(
    ("style", "shown"), [("none", ""), ("plain", "epoch 2/2"), ("rich", "2/2")]
)
def test_progress(cli: Cli, idx_dir: Path, no_figures: None, style: str, shown: str) -> None:
    done = cli(*SMALL, "--data-dir", idx_dir, "--out", "mine", "--json", "--progress", style)
    document(done.stdout)
    own = "\n".join(done.stderr.splitlines()[1:])  # the first line is about the data
    assert shown in own
    assert bool(own) is bool(shown)


@pytest.mark.parametrize("command", ["train", "compare"])
def test_dry_run(cli: Cli, tmp_path: Path, command: str) -> None:
    words = [command, *(["numpy", "keras"] if command == "compare" else [])]
    config = CONFIGS / "headline.toml"
    done = cli(*words, "--dry-run", "--config", config, "--epochs", 3, "--data-dir", "/nowhere")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line}
    assert lines["training.epochs"] == ["training.epochs", "3", "--epochs"]
    assert lines["name"] == ["name", "headline", str(config)]
    assert lines["training.batch_size"] == ["training.batch_size", "128", "default"]
    assert lines["1"] == ["1", "128", "64", "sigmoid", "8,256"]
    assert lines["total"] == ["total", "109,386"]
    assert not list(tmp_path.iterdir())


def test_dry_run_as_json(cli: Cli, tmp_path: Path) -> None:
    done = cli("--dry-run", "--json", "--seed", 5)
    answer = document(done.stdout)
    assert answer["spec"] == Spec(seed=5).model_dump(mode="json")
    assert answer["sha256"] == Spec(seed=5).digest
    assert (answer["origins"]["seed"], answer["origins"]["name"]) == ("--seed", "default")
    assert sum(layer["parameters"] for layer in answer["layers"]) == answer["parameters"] == 109_386
    assert not list(tmp_path.iterdir())


# --- help and version -----------------------------------------------------------------------------


def test_the_commands_are_the_listed_ones() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert set(group.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example: python -m mnist_mlp" in " ".join(done.stdout.split())
    assert "--json" in done.stdout


def test_the_top_level_names_every_command(cli: Cli) -> None:
    for words in (["--help"], []):
        done = cli(*words)
        assert done.returncode == 0
        for command in COMMANDS:
            assert f" {command} " in done.stdout


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"mnist-mlp {version('mnist-mlp')} ")
    assert "numpy" in done.stdout


# --- what is loaded -------------------------------------------------------------------------------


def loaded_by(*words: object) -> tuple[int, set[str]]:
    """Exit code of a command in a fresh process, and the top-level modules it ended with."""
    script = (
        "import sys\nfrom mnist_mlp.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "    print(stop.code, *names, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, *names = done.stderr.splitlines()[-1].split()
    return int(code), set(names)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_answers_without_loading_anything_slow(words: list[str]) -> None:
    code, names = loaded_by(*words)
    assert code == 0
    assert "typer" in names
    assert not names & (FRAMEWORKS | {"numpy", "sklearn", "matplotlib", "safetensors"})
    # The help of a command that has a specification's defaults in it needs its types.
    assert ("pydantic" in names) is (words != ["--help"])


def test_finished_runs_are_judged_without_a_framework(finished_run: Path, idx_dir: Path) -> None:
    code, names = loaded_by("compare", finished_run, finished_run, "--data-dir", idx_dir)
    assert code == 0
    assert "numpy" in names
    assert not names & FRAMEWORKS
    code, names = loaded_by("evaluate", finished_run)
    assert code == 0
    assert "matplotlib" in names
    assert not names & FRAMEWORKS


# --- evaluate, data, backends ---------------------------------------------------------------------


def test_evaluate(cli: Cli, finished_run: Path) -> None:
    before = (finished_run / "figures" / "curves.svg").read_bytes()
    done = cli("evaluate", finished_run)
    assert (done.returncode, done.stderr) == (0, f"evaluating {finished_run}\n")
    assert done.stdout.splitlines()[-1] == str(finished_run)
    assert (finished_run / "report.txt").read_text().rstrip() in done.stdout
    assert (finished_run / "figures" / "curves.svg").read_bytes() == before
    answer = document(cli("evaluate", finished_run, "--json").stdout)
    assert answer["path"] == str(finished_run)
    assert answer["n"] == 63
    assert answer["accuracy"] == Run(finished_run).metrics.accuracy


def test_data(cli: Cli, idx_dir: Path, small_data: Dataset) -> None:
    answer = document(cli("data", "--data-dir", idx_dir, "--json").stdout)
    assert (answer["dataset"], answer["is_mnist"]) == ("idx", False)
    assert answer["sha256"] == small_data.digest
    assert answer["images"] == {"shape": [250, 6, 5], "dtype": "uint8"}
    assert answer["rows_per_class"] == [int((small_data.labels == k).sum()) for k in range(4)]
    told = cli("data", "--data-dir", idx_dir)
    assert f"sha256     {small_data.digest}" in told.stdout
    assert f"labels of these: {', '.join(map(str, small_data.labels[:3]))}" in told.stdout


def test_data_is_real_mnist(cli: Cli, mnist_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_DATA", str(mnist_dir))
    done = cli("data", "--json")
    answer = document(done.stdout)
    assert (answer["dataset"], answer["is_mnist"], done.stderr) == ("mnist", True, "")
    assert answer["images"]["shape"] == [70_000, 28, 28]
    assert answer["rows_per_class"][:3] == [6903, 7877, 6990]


def test_data_follows_the_environment_as_a_run_does(
    cli: Cli, idx_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_MLP_DATASET", "mnist")
    done = cli("data", "--data-dir", idx_dir)
    assert done.returncode == 4
    assert "other data than MNIST" in done.stderr


def test_backends_lists_a_missing_one_with_its_remedy(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {
        "missing": "faulty_backends:MissingBackend",
        "numpy": "mnist_mlp_numpy:NumpyBackend",
        "stranger": "stranger_backend:StrangerBackend",
    }
    monkeypatch.setattr("mnist_mlp.registry.installed", lambda: known)
    answer = document(cli("backends", "--json").stdout)["backends"]
    assert list(answer) == list(known)
    assert answer["missing"]["usable"] is False
    assert "run pip install no-such-framework" in answer["missing"]["problem"]
    assert answer["stranger"]["versions"] == {"stranger-backend": "1.0"}
    assert answer["stranger"]["supports"]["activations"] == ["sigmoid", "relu"]
    assert answer["stranger"]["supports"]["momentum"] is False
    done = cli("backends")
    assert done.returncode == 0
    assert "run pip install no-such-framework" in done.stdout
    assert "optimizers: sgd\n" in done.stdout
    assert "optimizers: sgd, adam, momentum, nesterov, weight_decay" in done.stdout
