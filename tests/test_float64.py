"""float64: what is left between backends is rounding of rounding."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from mnist_mlp.contract import EpochRecord, Progress
from mnist_mlp.data import load_dataset
from mnist_mlp.parity.steps.drift import largest_gap, one_ulp_away
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

TINY = Path(__file__).parent.parent / "configs" / "tiny.toml"


def test_final_weights_agree_to_rounding(worker: Worker) -> None:
    raw = tomllib.loads(TINY.read_text(encoding="utf-8"))
    raw["training"]["precision"] = "float64"
    spec = parse_spec(raw)
    data = load_dataset("digits")
    plan = make_plan(spec, data)
    rows = training_data(plan, data)
    end = plan.steps_per_epoch * spec.training.epochs + 1
    exact = ReferenceRun(plan, rows).states([end])[end].weights
    nudged = ReferenceRun(one_ulp_away(plan, draw=0), rows).states([end])[end].weights
    bound = max(1e-12, 10 * largest_gap(exact, nudged))
    records: list[EpochRecord] = []
    worker.open(spec)
    worker.fit(plan, rows, Progress(epoch=records.append))
    gap = largest_gap(exact, records[-1].weights)
    assert gap <= bound
    moved = largest_gap(exact, {n: w.astype(np.float64) for n, w in plan.initial_weights.items()})
    assert moved > 1e-3, "the run must have gone somewhere"
