"""Where the time of an epoch goes, measured by differences.

A profiler does not see inside compiled code, and it slows down everything else. Instead, each
backend trains five versions of the work in fresh processes. Each version leaves out one more part,
and the time that the epoch loses from one version to the next is the cost of that part:

| version | part left out |
|---|---|
| the specification | |
| one test row | `validation` |
| hidden layers of one unit | `layers`: products, activations, gradients, update |
| one batch of all rows | `steps`: the fixed cost of a step, whatever its size |
| one batch of the usual size | `rows`: gathering, scaling and moving the images |
| (what is left) | `epoch`: order, metrics, callbacks, weights to the parent |

Where parts overlap in time, their common time counts for the one that was left out first. A part
that is smaller than the noise may come out slightly negative, and is shown like that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_mlp.bench.cases import LIMIT, Choice, limit_case
from mnist_mlp.bench.record import Case, Document
from mnist_mlp.bench.results import aligned, stability
from mnist_mlp.bench.statistics import epoch_medians
from mnist_mlp.spec import Spec

PARTS = ("validation", "layers", "steps", "rows", "epoch")
VERSIONS = ("whole", "training", "narrow", "one-step", "one-batch")


@dataclass(frozen=True)
class Profile:
    """Seconds of an epoch by part, and of the whole epoch; medians over rounds."""

    name: str
    whole_s: float
    parts: dict[str, float]


def profile_cases(spec: Spec, choice: Choice, *, train_rows: int) -> list[Case]:
    """Five versions for each backend, accelerator and path, and the limit."""
    sizes = spec.model.layer_sizes
    thin = (sizes[0], *(1 for _ in sizes[1:-1]), sizes[-1])
    narrow = spec.model_copy(update={"model": spec.model.model_copy(update={"layer_sizes": thin})})
    training = narrow.training.model_copy(update={"batch_size": train_rows})
    one_step = narrow.model_copy(update={"training": training})
    batch = min(spec.training.batch_size, train_rows)
    # In this order each version is smaller than the one before it, as VERSIONS lists them.
    changes: dict[str, dict[str, object]] = {
        "whole": {},
        "training": {"validated": False},
        "narrow": {"validated": False, "spec": narrow},
        "one-step": {"validated": False, "spec": one_step},
        "one-batch": {"validated": False, "spec": narrow, "train_rows": batch},
    }
    cases = []
    for backend in choice.backends:
        for accelerator in choice.accelerators:
            for fit_path in choice.fit_paths:
                base = choice.worker(backend, spec, accelerator=accelerator, fit_path=fit_path)
                for version, change in changes.items():
                    key = f"{base.key}/profile-{version}"
                    cases.append(base.model_copy(update={"key": key, **change}))
    return [*cases, limit_case(spec)]


def profiles(document: Document) -> list[Profile]:
    """The parts of each backend's epoch."""
    names = dict.fromkeys(case.group for case in document.cases if case.kind == "worker")
    found = []
    for name in names:
        times = [epoch_medians(document.of(f"{name}/profile-{version}")) for version in VERSIONS]
        rounds = sorted(set(times[0]).intersection(*times[1:]))
        if not rounds:
            continue
        seconds = np.array([[version[number] for number in rounds] for version in times])
        # The last version has none after it to subtract: all its time is the part `epoch`.
        lost = np.vstack([seconds[:-1] - seconds[1:], seconds[-1:]])
        parts = dict(zip(PARTS, np.median(lost, axis=1).tolist(), strict=True))
        found.append(Profile(name=name, whole_s=float(np.median(seconds[0])), parts=parts))
    return found


def as_text(document: Document) -> str:
    """A row for each backend and a column for each part: milliseconds, and share of the epoch."""
    cells: list[tuple[str, ...]] = [("ms of an epoch", "whole", *PARTS)]
    for each in profiles(document):
        shown = [
            f"{1000 * value:.1f} ({value / each.whole_s:.0%})" for value in each.parts.values()
        ]
        cells.append((each.name, f"{1000 * each.whole_s:.1f}", *shown))
    lines = [aligned(cells), ""]
    limit = list(epoch_medians(document.of(LIMIT)).values())
    if limit:
        lines.append(
            f"The matrix products alone (sgemm), for comparison with `layers`: "
            f"{1000 * float(np.median(limit)):.1f} ms."
        )
    lines += [
        "Differences between five versions of the work: see mnist_mlp/bench/profile.py.",
        *(f"{s.case}: {s.message}" for s in document.samples if s.status != "ok"),
        *stability(document),
    ]
    return "\n".join(lines)
