"""What has to run beside one backend: `probe.py steps|scale BACKEND`, a JSON document on stdout."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from mnist_mlp.contract import EpochRecord, Fallback, Progress
from mnist_mlp.data import load_dataset
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "weight_decay": 1e-3},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "clipping": {"clip_norm": 0.3, "momentum": 0.5},
    "schedule": {"schedule": [[5, 0.02], [40, 0.2], [101, 0.01]], "momentum": 0.5},
    "adam": {"name": "adam", "learning_rate": 0.001},
}
WIDTHS = (32, 128, 512, 2048)
BATCHES = (32, 128, 512, 2048)


def specification(*, width: int = 128, batch: int = 128, epochs: int = 2, **optimizer: Any) -> Any:
    return parse_spec(
        {
            "data": {"rows": 8000, "dataset": "auto"},
            "model": {"layer_sizes": [784, width, 64, 10]},
            "optimizer": {"learning_rate": 0.05} | optimizer,
            "training": {"batch_size": batch, "epochs": epochs},
        }
    )


def fit(worker: Worker, spec: Any, data: Any, *, path: Any) -> dict[str, Any]:
    epochs: list[EpochRecord] = []
    arrivals: list[float] = []
    fallbacks: list[Fallback] = []

    def on_epoch(record: EpochRecord) -> None:
        arrivals.append(time.perf_counter())
        epochs.append(record)

    worker.fit_path = path
    plan = make_plan(spec, data)
    worker.open(spec)
    progress = Progress(epoch=on_epoch, fallback=fallbacks.append)
    ran = worker.fit(plan, training_data(plan, data), progress)
    return {
        "weights": epochs[-1].weights,
        "epoch_s": float(np.median(np.diff(arrivals))),
        "ran": dict(ran),
        "fallback": fallbacks[0].reason if fallbacks else "",
    }


def steps(backend: str, accelerator: str) -> dict[str, Any]:
    """The fast path's weights against the plain one's, by optimizer."""
    data, found = load_dataset("auto"), {}
    with Worker(backend, accelerator=accelerator) as worker:
        for name, optimizer in OPTIMIZERS.items():
            fast, plain = (
                fit(worker, specification(**optimizer), data, path=path)
                for path in ("fast", "plain")
            )
            a, b = fast["weights"], plain["weights"]
            gap = max(float(np.abs(a[key].astype(float) - b[key]).max()) for key in a)
            ran = {key: fast["ran"].get(key) for key in ("cuda_graph", "jit_compile")}
            found[name] = {"gap": gap, **ran, "fallback": fast["fallback"]}
    return found


def scale(backend: str, accelerator: str) -> dict[str, Any]:
    """Seconds of an epoch of the fast path, by width and by batch."""
    data = load_dataset("auto")
    found: dict[str, dict[int, float]] = {"width": {}, "batch": {}}
    with Worker(backend, accelerator=accelerator) as worker:
        for axis, points in (("width", WIDTHS), ("batch", BATCHES)):
            for point in points:
                spec = specification(**{axis: point}, epochs=4)
                found[axis][point] = fit(worker, spec, data, path="fast")["epoch_s"]
    return found


if __name__ == "__main__":
    what, name, where = sys.argv[1:]
    print(json.dumps({"steps": steps, "scale": scale}[what](name, where)))
