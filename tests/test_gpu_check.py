"""`make gpu` as far as it goes without a GPU: time, failures, table, crossover, exit code."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "gpu_check"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gpu_{name.strip('_')}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


runner = loaded("runner")
sys.modules["runner"] = runner  # as `python tests/gpu_check` finds it
check = loaded("__main__")
Part, PartError, Row = runner.Part, runner.PartError, runner.Row


def test_every_part_is_written_before_the_next_begins_and_failures_are_rows() -> None:
    written: list[list[str]] = []

    def fail(left: float) -> Any:
        assert written[-1] == ["one"]
        raise PartError("no device\nhere")

    def bug(left: float) -> Any:
        raise KeyError("x")

    parts = [
        Part("one", lambda _: [Row("a", "b", True)]),
        Part("two", fail),
        Part("three", bug),
        Part("four", lambda _: [Row("c", "d")]),
    ]
    results = runner.run_parts(parts, budget_s=9, write=lambda r: written.append(list(r)))
    assert written[-1] == ["one", "two", "three", "four"]
    assert len(written) == 4
    assert results["two"] == [Row("failed", "no device here", False)]
    assert results["three"] == [Row("failed", "KeyError: 'x'", False)]
    assert results["four"] == [Row("c", "d")]


def test_the_time_is_kept_and_a_stop_keeps_what_there_is() -> None:
    now = iter([0.0, 0.0, 6.0, 12.0, 12.0])
    told: list[float] = []

    def measure(left: float) -> Any:
        told.append(left)
        return [Row("x", "y")]

    parts = [Part(name, measure) for name in "abcd"]
    results = runner.run_parts(parts, budget_s=10, write=lambda _: None, clock=lambda: next(now))
    assert told == [10, 4]
    assert results["c"] == results["d"] == [Row("not measured", "the time was up")]

    def stop(left: float) -> Any:
        raise KeyboardInterrupt

    results = runner.run_parts(
        [Part("a", measure), Part("b", stop), Part("c", measure)],
        budget_s=10,
        write=lambda _: None,
    )
    assert results["a"] == [Row("x", "y")]
    assert results["b"] == results["c"] == [Row("not measured", "stopped by hand")]


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(PartError, match="stopped after 1 s"):
        runner.call(sys.executable, ["-c", "import time; time.sleep(60)"], seconds=1)
    done = runner.call(sys.executable, ["-c", "print('x'); raise SystemExit('why')"], seconds=60)
    with pytest.raises(PartError, match="exit code 1: why"):
        runner.answer(done)


@pytest.mark.parametrize(
    ("cpu", "gpu", "point"),
    [
        ({1: 1, 2: 2, 4: 4}, {1: 2, 2: 1, 4: 1}, 2),
        ({1: 1, 2: 2, 4: 4}, {1: 0.5, 2: 3, 4: 1}, 4),  # faster once is not faster from there on
        ({1: 1, 2: 2}, {1: 2, 2: 2}, None),
        ({1: 2, 2: 2}, {1: 1, 2: 1}, 1),
        ({1: 2, 2: 2}, {1: 1}, 1),
        ({}, {}, None),
    ],
)
def test_crossover(cpu: Any, gpu: Any, point: int | None) -> None:
    assert runner.crossover(cpu, gpu) == point


def test_the_page() -> None:
    results = {"Timing": [Row("a|b", "1\n2", True), Row("c", "3"), Row("d", "4", False)]}
    text = runner.page({"card": "X"}, results, day="2026-01-02")
    assert "`make gpu`, 2026-01-02." in text
    assert "| card | X |" in text
    assert "## Timing" in text
    assert "| a\\|b | 1 2 | passed |" in text
    assert "| c | 3 |  |" in text
    assert "| d | 4 | **failed** |" in text


def case(key: str, epoch_s: float, *, gpu_peak: int | None = None) -> dict[str, Any]:
    return {
        "key": key,
        "epoch_s": epoch_s,
        "fastest_s": epoch_s,
        "slowest_s": epoch_s,
        "unstable": False,
        "gpu_peak": gpu_peak,
        "phases": {"import_s": 3.0},
    }


@pytest.mark.parametrize(("epoch", "short", "ten"), [(0.02, True, True), (0.4, False, False)])
def test_goals_are_judged_by_the_sitting(epoch: float, short: bool, ten: bool) -> None:
    ratios = {"torch/fast": {"value": 12.5, "low": 11.0, "high": 14.0}}
    cases = [case("torch/cpu/fast", 0.25), case("torch/gpu/fast", epoch, gpu_peak=2**30)]
    rows = check.bench_rows({"cases": cases, "gpu_over_cpu": ratios}, "torch")
    found = {row.what: row for row in rows}
    assert found["torch: an epoch"].passed is short
    assert found["torch: ten epochs"].passed is ten
    assert found["torch/gpu/fast: GPU memory"].found == "1,024 MiB"
    assert found["torch/fast: speed of the GPU over the CPU"].found == "12.50 [11.00, 14.00]"


def test_without_a_gpu_it_says_so_names_all_parts_and_exits_3(tmp_path: Path) -> None:
    """One interpreter lacks the project, the other sees no device: both are told, in words."""
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'No module named mnist_mlp' >&2\nexit 1\n")
    bare.chmod(0o755)
    page = tmp_path / "gpu.md"
    done = subprocess.run(
        [sys.executable, FOLDER, "--torch-python", bare, "--page", page],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "no GPU here" in done.stdout
    assert "torch: not usable (exit code 1: No module named mnist_mlp)" in done.stdout
    assert "keras: sees no GPU" in done.stdout
    for name in check.MEASURES:
        assert f"  {name}\n" in done.stdout
    assert not page.exists()


class Ddp(check.Check):  # type: ignore[misc,name-defined]
    """Whose runs are made by nobody, and report a process group."""

    group = "nccl"

    def _train(self, backend: str, accelerator: str, left: float, *, target: str = "") -> None:
        pass

    def _mnist_mlp(
        self, backend: str, words: Any, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        self.words = list(map(str, words))
        (self.folder / "ddp").mkdir()
        flags = {"ranks": 2, "process_group": self.group}
        (self.folder / "ddp" / "run.json").write_text(json.dumps({"flags": flags}))
        return subprocess.CompletedProcess([], 0, "{}", "")

    def _compared(self, what: str, sides: Any, left: float) -> Any:
        return Row(what, "identical", True)


@pytest.mark.parametrize("group", ["nccl", "gloo"])
def test_a_rank_for_each_gpu_has_to_exchange_by_nccl(group: str, tmp_path: Path) -> None:
    made = Ddp({"torch": sys.executable}, tmp_path)
    with pytest.raises(PartError, match="needs a torch backend"):
        made.ddp(9.0)
    made.usable, made.group = {"torch": {"gpus": ["one", "two"]}}, group
    rows = made.ddp(9.0)
    assert "--devices 2 --strategy ddp" in " ".join(made.words)
    assert [row.passed for row in rows] == [group == "nccl", True]
