"""The long checks, `make acceptance`: not part of the test suite; output in `docs/acceptance.md`.

1. `configs/headline.toml` (100 epochs): the reports of Keras and Lightning are identical and the
   accuracy is at least 0.912.
2. Every configuration in float64: the final weights of all backends lie within
   max(1e-12, 10 x what a one-ulp change of the initial weights does to the NumPy run).
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mnist_mlp.contract import EpochRecord, Progress
from mnist_mlp.data import load_dataset
from mnist_mlp.parity.compare.runs import compare_runs
from mnist_mlp.parity.steps.drift import largest_gap, one_ulp_away
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.run.machine import describe_machine
from mnist_mlp.spec import parse_spec
from mnist_mlp.training import train
from mnist_mlp.worker.parent import Worker

CONFIGS = sorted(Path("configs").glob("*.toml"))
BACKENDS = ("numpy", "keras", "torch")
THREADS = 1


def main() -> None:
    lines = list(report())
    Path("docs/acceptance.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if any("**failed**" in line for line in lines):
        sys.exit(1)


def say(text: str) -> str:
    print(text, flush=True)
    return text


def report() -> Iterator[str]:
    machine = describe_machine()
    yield say("# Acceptance\n")
    yield say(
        "This page shows two checks that are too long for the tests: a run of 100 epochs in "
        "float32, and every configuration in float64.\n"
    )
    yield say(
        f"`make acceptance`, {datetime.now(UTC):%Y-%m-%d}: Python {machine['python']}, "
        f"{machine['processor']}, {THREADS} thread.\n"
    )
    yield from headline()
    yield from double_precision()


def headline() -> Iterator[str]:
    spec = parse_spec(tomllib.loads(Path("configs/headline.toml").read_text(encoding="utf-8")))
    data = load_dataset("mnist")
    with TemporaryDirectory() as folder:
        keras, torch = (
            train(spec, backend=b, dataset=data, out=Path(folder) / b, threads=THREADS)
            for b in ("keras", "torch")
        )
        result = compare_runs(keras, torch, dataset=data)
        accuracy = min(run.metrics.accuracy for run in (keras, torch))
        passed = result.verdict == "identical" and accuracy >= 0.912
        yield say("## The headline: 100 epochs, float32\n")
        yield say(
            f"Verdict: {result.verdict}; {result.predictions.different} of "
            f"{result.predictions.total} predictions differ; accuracy {accuracy:.4f} "
            f"(at least 0.912): {'passed' if passed else '**failed**'}.\n"
        )
        yield say(f"```\n{keras.report_text.rstrip()}\n```\n")


def double_precision() -> Iterator[str]:
    yield say("## float64: largest difference of a final weight from the NumPy run\n")
    yield say(
        "`one ulp` is the effect of changing the initial weights by one ulp. The bound is 10 times "
        "this effect, or 1e-12 if that is larger.\n"
    )

    yield say("| configuration | epochs | one ulp | bound | keras | torch | |")
    yield say("|---|--:|--:|--:|--:|--:|---|")
    for path in CONFIGS:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw.setdefault("training", {})["precision"] = "float64"
        spec = parse_spec(raw)
        data = load_dataset(spec.data.dataset)
        plan = make_plan(spec, data)
        rows = training_data(plan, data)
        weights = {backend: final_weights(backend, plan, rows) for backend in BACKENDS}
        nudged = one_ulp_away(plan, draw=0)
        spread = largest_gap(weights["numpy"], final_weights("numpy", nudged, rows))
        bound = max(1e-12, 10 * spread)
        gaps = [largest_gap(weights["numpy"], weights[backend]) for backend in ("keras", "torch")]
        passed = max(gaps) <= bound
        yield say(
            f"| {spec.name} | {spec.training.epochs} | {spread:.1e} | {bound:.1e} | "
            f"{gaps[0]:.1e} | {gaps[1]:.1e} | {'passed' if passed else '**failed**'} |"
        )


def final_weights(backend: str, plan: Plan, rows: Any) -> Any:
    records: list[EpochRecord] = []
    with Worker(backend, accelerator="cpu", threads=THREADS) as worker:
        worker.open(plan.spec)
        worker.fit(plan, rows, Progress(epoch=records.append))
    return records[-1].weights


if __name__ == "__main__":
    main()
