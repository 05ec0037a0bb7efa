"""Every exit code of the README's table, each provoked; and that no failure reads as a verdict."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp import errors
from mnist_mlp.errors import InterruptedRun, MnistMlpError, Stop, TerminatedRun

Cli = Callable[..., CompletedProcess[str]]

README = Path(__file__).parent.parent / "README.md"
NUMPY = ("--backend", "numpy", "--progress", "none", "--epochs", 2)
SMALL = ("--set", "model.layer_sizes=[30,9,4]")


def test_the_readme_has_every_exit_code() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \| ", README.read_text(encoding="utf-8"), flags=re.M)
    shown = sorted(int(code) for row in rows for code in row.split(","))
    known = sorted(value for name, value in vars(errors).items() if name.startswith("EXIT_"))
    assert shown == known


def trained(cli: Cli, data: Path, name: str, *words: object) -> CompletedProcess[str]:
    return cli(*NUMPY, *SMALL, "--data-dir", data, "--out", name, *words)


@pytest.mark.usefixtures("no_figures")
def test_0_and_1_are_verdicts(cli: Cli, idx_dir: Path) -> None:
    assert trained(cli, idx_dir, "one").returncode == 0
    assert trained(cli, idx_dir, "same").returncode == 0
    assert trained(cli, idx_dir, "other", "--learning-rate", 0.02).returncode == 0
    assert cli("compare", "one", "same", "--data-dir", idx_dir).returncode == 0
    assert cli("compare", "one", "other", "--data-dir", idx_dir).returncode == 1


@pytest.mark.usefixtures("no_figures")
def test_6_is_a_comparison_without_its_evidence(cli: Cli, idx_dir: Path) -> None:
    trained(cli, idx_dir, "one")
    trained(cli, idx_dir, "same")
    assert cli("compare", "--static", "one", "same", "--data-dir", idx_dir).returncode == 6


def test_2_3_4_and_5_are_failures(cli: Cli, idx_dir: Path) -> None:
    assert cli("--epochs", "many").returncode == 2
    assert cli(*NUMPY, "--accelerator", "gpu", "--dataset", "digits").returncode == 3
    assert cli("evaluate", "no_such_run").returncode == 4
    steep = ("--learning-rate", 1e30, "--set", 'model.activations=["relu","softmax"]')
    assert trained(cli, idx_dir, "steep", *steep).returncode == 5


def test_70_is_a_fault_of_our_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines and a file, where a traceback with exit code 1 said "the runs differ"."""

    def broken() -> None:
        raise KeyError("target")

    monkeypatch.setattr("mnist_mlp.registry.installed", broken)
    done = cli("backends", "--json")
    assert done.returncode == 70
    first, second = done.stderr.splitlines()
    assert re.fullmatch(r"error: mnist_mlp itself failed, in .*\.py:\d+: KeyError: 'target'", first)
    file = Path(second.rpartition("the traceback is in ")[2])
    trace = file.read_text(encoding="utf-8")
    file.unlink()
    assert "Traceback (most recent call last)" in trace
    assert "in broken" in trace
    answer = json.loads(done.stdout)
    assert (answer["exit_code"], answer["error"]["kind"]) == (70, "InternalError")


def test_memory_that_ran_out_is_no_fault_of_the_program(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry() -> None:
        raise MemoryError

    monkeypatch.setattr("mnist_mlp.registry.installed", hungry)
    done = cli("backends")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "out of memory" in done.stderr


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("command", ["backends", "compare"])
def test_a_signal_is_never_swallowed(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    finished_run: Path,
    idx_dir: Path,
    command: str,
    number: signal.Signals,
    code: int,
) -> None:
    """Both commands go on after an ordinary error, such as a backend that is missing."""

    def stopped(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("mnist_mlp.worker.parent.Worker.describe", stopped)
    monkeypatch.setattr("mnist_mlp.report.write_report", stopped)
    words = {
        "backends": ["backends"],
        "compare": ["compare", "--static", finished_run, finished_run, "--data-dir", idx_dir,
                    "--out", "here"],
    }  # fmt: skip
    assert cli(*words[command]).returncode == code


def test_no_handler_of_ordinary_errors_takes_a_stop() -> None:
    for stop in (InterruptedRun, TerminatedRun):
        assert issubclass(stop, Stop)
        assert not issubclass(stop, Exception | MnistMlpError)
