"""Everything that needs a GPU, in one command: `make gpu`, or `python3 tests/gpu_check`.

It writes `docs/gpu.md` after every part. It needs an NVIDIA driver and this project with its
frameworks in one environment, or in two: `--keras-python PATH --torch-python PATH`. Without a GPU
it says so, names what it would have measured, and leaves with 3.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from runner import ROOT, Part, PartError, Results, Row, answer, call, crossover, page, run_parts

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "docs" / "gpu.md"
EXIT_ENVIRONMENT = 3
GAP = 1e-4
"""Float32 weights of order 1 after 94 steps, added up in another order: rounding is below 1e-5."""
GOAL_S = 0.025
"""An epoch of the tutorial on a card of the H100 class."""

MEASURES = (
    "Card and versions",
    "Steps: captured or compiled against plain",
    "Timing: cpu and gpu, fast and plain",
    "CPU and GPU: the same run",
    "Keras and Lightning on the GPU, TF32 off",
    "TF32 on, and recognised",
    "DDP by NCCL against one process",
    "Other engines of Keras, refused in words",
    "Out of memory, provoked",
    "From which width and batch the GPU is faster",
    "Conformance on the GPU",
)


class Check:
    """The parts, with what they share; `pythons` holds the interpreter of each backend."""

    def __init__(self, pythons: dict[str, str], folder: Path) -> None:
        self.pythons = pythons
        self.folder = folder
        self.usable: dict[str, dict[str, Any]] = {}

    def parts(self) -> list[Part]:
        found = [partial(self.look), self.steps, self.timing, self.same, self.pair]
        found += [self.tf32, self.ddp, self.engines, self.memory, self.scale, self.conformance]
        return [Part(name, each) for name, each in zip(MEASURES, found, strict=True)]

    def look(self, left: float) -> list[Row]:
        """Which backends can use the GPU, and why the others cannot."""
        rows = []
        for backend, python in self.pythons.items():
            try:
                told = answer(call(python, ["-m", "mnist_mlp", "backends", "--json"], seconds=left))
                facts = told["backends"][backend]
            except (PartError, KeyError, ValueError, OSError) as error:
                install = f"{python} -m pip install -e . in the checkout"
                rows.append(Row(backend, f"not usable ({error}): run {install}"))
                continue
            if not facts["usable"]:
                rows.append(Row(backend, facts["problem"]))
            elif not facts["gpus"]:
                rows.append(Row(backend, f"sees no GPU; {facts['gpu_install']}".rstrip("; ")))
            else:
                self.usable[backend] = facts
                versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
                rows.append(Row(backend, f"{', '.join(facts['gpus'])}; {versions}"))
        return rows

    def steps(self, left: float) -> list[Row]:
        rows = []
        for backend in self.usable:
            for name, found in self._probe("steps", backend, "gpu", left).items():
                gap, small = found["gap"], found["gap"] <= GAP
                made = bool(found["cuda_graph"] or found["jit_compile"] or name == "adam")
                ways = {"cuda_graph": "captured", "jit_compile": "compiled"}
                how = [word for key, word in ways.items() if found[key]]
                how = found["fallback"] or "".join(how) or "neither captured nor compiled"
                text = f"weights differ by {gap:.1e} (at most {GAP:.0e}); {how}"
                rows.append(Row(f"{backend}, {name}", text, small and made))
        return rows

    def timing(self, left: float) -> list[Row]:
        rows = []
        for backend in self.usable:
            out = self.folder / f"bench-{backend}"
            words = ["--backends", backend, "--accelerators", "cpu,gpu", "--paths", "fast,plain"]
            words += ["--rounds", 3, "--epochs", 3, "--command-epochs", 0, "--out", out]
            share = left * 0.5 / len(self.usable)
            try:
                self._mnist_mlp(backend, ["bench", *words], share)
            except PartError as error:
                rows.append(Row(backend, str(error)))  # what it has measured stands in its file
            shown = self._mnist_mlp(backend, ["bench", "show", out, "--json"], 60)
            rows += bench_rows(answer(shown)["results"], backend)
        return rows

    def same(self, left: float) -> list[Row]:
        rows = []
        for backend in self.usable:
            for accelerator in ("cpu", "gpu"):
                self._train(backend, accelerator, left)
            sides = [self._run(backend, accelerator) for accelerator in ("cpu", "gpu")]
            rows.append(self._compared(backend, sides, left))
        return rows

    def pair(self, left: float) -> list[Row]:
        self._both()
        for backend in self.usable:
            self._train(backend, "gpu", left)
        sides = [self._run(backend, "gpu") for backend in self.usable]
        return [self._compared("keras with torch", sides, left)]

    def tf32(self, left: float) -> list[Row]:
        rows = []
        for backend in self.usable:
            name = f"tf32_backends:Tf32{backend.capitalize()}"
            self._train(backend, "gpu", left)
            self._train(backend, "gpu", left, target=name)
            sides = [self._run(backend, "gpu"), self._run(name, "gpu")]
            told = answer(self._compare(backend, sides, left), codes=(0, 1, 6))
            cause = (told["cause"] or {}).get("name", "none")
            text = f"{told['verdict']}, cause {cause}"
            passed = cause == "tf32_arithmetic"
            rows.append(Row(f"{backend} against itself with TF32", text, passed))
        return rows

    def ddp(self, left: float, *, accelerator: str = "gpu", group: str = "nccl") -> list[Row]:
        """A rank for each GPU; of a single one, DDP exchanges gradients too, with itself."""
        if "torch" not in self.usable:
            raise PartError("needs a torch backend that sees the GPU")
        ranks = len(self.usable["torch"]["gpus"])
        self._train("torch", accelerator, left)
        alone, together = self._run("torch", accelerator), self.folder / "ddp"
        words = ["train", "--backend", "torch", "--accelerator", accelerator, "--epochs", 2]
        words += ["--devices", ranks, "--strategy", "ddp", "--out", together]
        answer(self._mnist_mlp("torch", [*words, "--progress", "none", "--json"], left))
        used = json.loads((together / "run.json").read_text(encoding="utf-8"))["flags"]
        text = f"{used['ranks']} ranks by {used['process_group']}"
        right = (used["ranks"], used["process_group"]) == (ranks, group)
        return [Row("ranks", text, right), self._compared("DDP with one process",
                                                          [alone, together], left)]  # fmt: skip

    def engines(self, left: float) -> list[Row]:
        """They compute on the CPU alone: a GPU must be refused, and not left idle in silence."""
        rows = []
        for name in ("keras-jax", "keras-torch"):
            backend = next(iter(self.usable))
            words = ["train", "--backend", name, "--accelerator", "gpu", "--epochs", 1]
            words += ["--out", self.folder / name, "--progress", "none"]
            done = self._mnist_mlp(backend, words, left)
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            refused = "cannot use a GPU" in last or "needs" in last
            good = done.returncode == EXIT_ENVIRONMENT and refused
            rows.append(Row(name, f"exit code {done.returncode}: {last[:300]}", good))
        return rows

    def memory(self, left: float) -> list[Row]:
        """One activation larger than the card: few weights, one layer of too many units."""
        units = int(1.2 * card_bytes() / (50_000 * 4))
        rows = []
        for backend in self.usable:
            words = ["train", "--backend", backend, "--accelerator", "gpu", "--epochs", 1]
            words += ["--set", f"model.layer_sizes=[784,8,{units},10]", "--batch-size", 50_000]
            words += ["--out", self.folder / f"memory-{backend}", "--progress", "none"]
            done = self._mnist_mlp(backend, words, left)
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            good = done.returncode == EXIT_ENVIRONMENT and "50,000 rows" in last and "byt" in last
            rows.append(Row(backend, f"exit code {done.returncode}: {last[:300]}", good))
        return rows

    def scale(self, left: float) -> list[Row]:
        rows = []
        for backend in self.usable:
            cpu, gpu = (self._probe("scale", backend, each, left) for each in ("cpu", "gpu"))
            rows += scale_rows(backend, cpu, gpu)
        return rows

    def conformance(self, left: float) -> list[Row]:
        rows = []
        for backend in self.usable:
            python = self.pythons[backend]
            if call(python, ["-c", "import pytest, pytest_timeout"], seconds=60).returncode:
                missing = f"pytest is missing: run {python} -m pip install pytest pytest-timeout"
                rows.append(Row(backend, missing))
                continue
            chosen = f"{backend} and not keras-jax and not keras-torch"  # those refuse a GPU
            words = ["-m", "pytest", "-q", "--accelerator", "gpu", "-k", chosen]
            done = call(python, [*words, "tests/conformance"], seconds=left / len(self.usable))
            lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]]
            failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
            text = "; ".join([lines[-1], *failed[:8]])
            rows.append(Row(backend, text, done.returncode == 0))
        return rows

    # --- What they share --------------------------------------------------------------------------

    def _both(self) -> None:
        if len(self.usable) < 2:
            raise PartError("needs two backends that see the GPU")

    def _mnist_mlp(
        self, backend: str, words: Sequence[object], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        command = ["-m", "mnist_mlp", *words]
        return call(self.pythons[backend], command, seconds=seconds, folders=[HERE])

    def _probe(self, what: str, backend: str, accelerator: str, left: float) -> Any:
        words = [HERE / "probe.py", what, backend, accelerator]
        return answer(call(self.pythons[backend], words, seconds=left))

    def _run(self, target: str, accelerator: str) -> Path:
        return self.folder / f"{target.rpartition(':')[2].lower()}-{accelerator}"

    def _train(self, backend: str, accelerator: str, left: float, *, target: str = "") -> None:
        """A run of two epochs with its trace, made once."""
        out = self._run(target or backend, accelerator)
        if not out.exists():
            words = ["train", "--backend", target or backend, "--accelerator", accelerator]
            words += ["--epochs", 2, "--trace", "--out", out, "--progress", "none", "--json"]
            answer(self._mnist_mlp(backend, words, left))

    def _compare(
        self, backend: str, sides: Sequence[Path], left: float
    ) -> subprocess.CompletedProcess[str]:
        """Replayed where one environment has both backends, else by their traces."""
        labels = {side.name.rpartition("-")[0] for side in sides}
        pythons = {self.pythons[each] for each in labels & self.pythons.keys()}
        words = ["compare", *sides, "--json", *(["--static"] if len(pythons) > 1 else [])]
        return self._mnist_mlp(backend, words, left)

    def _compared(self, what: str, sides: Sequence[Path], left: float) -> Row:
        told = answer(self._compare(next(iter(self.usable)), sides, left), codes=(0, 1, 6))
        first = told.get("first_break")
        text = told["verdict"] + (f": {first['rung']}" if first else f"; {told['text']}")
        return Row(what, text, told["verdict"] in ("identical", "equivalent"))


def bench_rows(results: dict[str, Any], backend: str) -> list[Row]:
    """Epochs, ratios, memory and the goals, out of a sitting of one backend."""
    rows = []
    for case in results["cases"]:
        if case["epoch_s"] is None or not case["key"].startswith(backend):
            continue
        shaky = "; unstable" if case["unstable"] else ""
        spread = f"{case['fastest_s']:.4f} to {case['slowest_s']:.4f} s"
        rows.append(Row(f"{case['key']}: epoch", f"{case['epoch_s']:.4f} s ({spread}){shaky}"))
        if case["gpu_peak"] is not None:
            rows.append(Row(f"{case['key']}: GPU memory", f"{case['gpu_peak'] / 2**20:,.0f} MiB"))
        if case["key"].endswith("gpu/fast"):
            epoch, started = case["epoch_s"], case["phases"].get("import_s")
            goal = f"{epoch * 1000:.1f} ms, goal under {GOAL_S * 1000:.0f} ms (H100 class)"
            rows.append(Row(f"{backend}: an epoch", goal, epoch < GOAL_S))
            if started is not None:
                text = f"{10 * epoch:.2f} s, import {started:.2f} s"
                rows.append(Row(f"{backend}: ten epochs", text, 10 * epoch < started))
    for key, ratio in results["gpu_over_cpu"].items():
        low, high = ratio["low"], ratio["high"]
        interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
        rows.append(Row(f"{key}: speed of the GPU over the CPU", f"{ratio['value']:.2f}{interval}"))
    return rows


def scale_rows(backend: str, cpu: dict[str, Any], gpu: dict[str, Any]) -> list[Row]:
    """Per axis: the point from which the GPU is faster, and all times."""
    rows = []
    for axis in ("width", "batch"):
        a, b = ({int(k): v for k, v in side[axis].items()} for side in (cpu, gpu))
        point = crossover(a, b)
        found = "at no point up to the largest" if point is None else f"from {point:,} on"
        times = ", ".join(f"{k:,}: {a[k]:.4f} / {b[k]:.4f} s" for k in sorted(a.keys() & b.keys()))
        rows.append(Row(f"{backend}, {axis}", f"{found} (cpu / gpu: {times})"))
    return rows


def nvidia(fields: str) -> list[str]:
    """What the driver's own tool tells of the first card; nothing where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return [cell.strip() for cell in lines[0].split(",")] if lines else []


def card_bytes() -> int:
    cells = nvidia("memory.total")
    if not cells:
        raise PartError("nvidia-smi does not tell the card's memory")
    return int(cells[0]) * 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keras-python", default=sys.executable, help="interpreter for Keras")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter for torch")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    pythons = {"torch": options.torch_python, "keras": options.keras_python}
    card = nvidia("name,driver_version,memory.total")
    with tempfile.TemporaryDirectory() as folder:
        check = Check(pythons, Path(folder))
        rows = check.look(120)
        if not check.usable:
            print("no GPU here: nothing was measured")
            for row in rows:
                print(f"  {row.what}: {row.found}")
            print("what would have been measured:", *(f"  {name}" for name in MEASURES), sep="\n")
            return EXIT_ENVIRONMENT
        about = dict(zip(("card", "driver", "memory, MiB"), card, strict=False))
        about["Python"] = sys.version.split()[0]
        day = f"{datetime.now(UTC):%Y-%m-%d}"

        def write(results: Results) -> None:
            options.page.write_text(page(about, results, day=day), encoding="utf-8")
            name, found = list(results.items())[-1]
            for row in found:
                print(f"{name}: {row.what}: {row.found}", flush=True)

        results = run_parts(check.parts(), budget_s=options.minutes * 60, write=write)
    return int(any(row.passed is False for rows in results.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
