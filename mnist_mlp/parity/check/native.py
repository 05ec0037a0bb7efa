"""Original and port trained many times, each as its own code does: do they reach one accuracy?

Each side draws its own initial weights with the seed, and nothing is set on the way. A model that
brings no data of its own is fed the plan's rows in the plan's order, which are the same for both.
So the runs of one seed are a pair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check import supported
from mnist_mlp.parity.check.target import Target
from mnist_mlp.plan import Plan, TrainingData, make_plan, training_data
from mnist_mlp.ports.journal import as_they_were
from mnist_mlp.ports.protocol import PortFacts
from mnist_mlp.ports.user_code import is_script
from mnist_mlp.spec import Spec
from mnist_mlp.sweep.equivalence import Comparison, compare, decide
from mnist_mlp.worker.parent import Worker

Pair = tuple[float, float]
"""Accuracies of original and port."""


def native_pairs(
    targets: tuple[Target, Target],
    *,
    spec: Spec,
    dataset: Dataset,
    seeds: Sequence[int],
    known: Mapping[int, Pair],
    on_pair: Callable[[int, Pair, float], None],
    image_shape: tuple[int, ...] = (),
    threads: int = 1,
    verbose: bool = False,
    timeout: float | None = None,
    in_place: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[int, Pair]:
    """Train both sides with every seed; accuracies on the test rows, by seed.

    Parameters
    ----------
    known : mapping
        Pairs of earlier, which are not repeated.
    on_pair : callable
        Called with each new pair: seed, accuracies, and the seconds that are probably left.

    Raises
    ------
    UsageError
        A side is a script, or cannot be trained on these rows.
    UserCodeError
        The code of a side raised.
    """
    for target in targets:
        if is_script(target.text):
            raise UsageError(
                f"{target.text}: --native trains models, FILE.py:NAME; of a script, name what "
                f"makes its model"
            )
    pairs = dict(known)
    left = [seed for seed in seeds if seed not in pairs]
    if not left:
        return pairs
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool, ExitStack() as workers:
        sides = []
        journal = None if in_place else workers.enter_context(as_they_were(say))
        for target in targets:
            say(f"starting {target.framework} for {target.text}")
            worker = Worker(
                target.framework,
                accelerator="cpu",
                threads=threads,
                verbose=verbose,
                timeout=timeout,
                journal=journal,
            )
            sides.append((workers.enter_context(worker), target))
            worker.start_describing(target.text)
        for done, seed in enumerate(left, start=1):
            plan = make_plan(spec.model_copy(update={"seed": seed}), dataset)
            data = training_data(plan, dataset)
            if done == 1:
                for worker, target in sides:
                    facts = _open(worker, target, data, image_shape, classes=dataset.classes)
                    layers = map(supported.named, supported.compared_by_settings(facts.layers))
                    for layer in layers:
                        say(f"{target.text}: {layer} draws or keeps what only many runs can judge")
            futures = [pool.submit(_train, worker, plan, data) for worker, _ in sides]
            pairs[seed] = (futures[0].result(), futures[1].result())
            seconds = (time.monotonic() - began) / done * (len(left) - done)
            on_pair(seed, pairs[seed], seconds)
    return {seed: pairs[seed] for seed in seeds}


def _open(
    worker: Worker,
    target: Target,
    data: TrainingData,
    image_shape: tuple[int, ...],
    *,
    classes: int,
) -> PortFacts:
    looked = worker.describe_port(target.text)
    needs = supported.Needs(data.train_images.shape[1], classes)
    if reason := supported.refusal_of_port(looked, needs, label=target.text):
        raise UsageError(reason)
    return worker.open_port(
        target.text, data=data, image_shape=image_shape or (data.train_images.shape[1],)
    )


def _train(worker: Worker, plan: Plan, data: TrainingData) -> float:
    return worker.train_port(plan, data, seed=plan.spec.seed, native=True)


def judge(
    targets: tuple[Target, Target], pairs: Mapping[int, Pair], *, margin: float
) -> Comparison:
    """Whether both sides reach the same accuracy."""
    a, b = np.array(list(pairs.values()), np.float64).reshape(-1, 2).T
    names = (targets[0].text, targets[1].text)
    (found,) = decide([compare(a, b, names=names, margin=margin, paired=True)])
    return found


def key_of(targets: tuple[Target, Target], spec: Spec, dataset: Dataset) -> str:
    """A digest of what the accuracies depend on: both files, the specification, the data.

    The seed of the specification is not among it, and what the files import is not seen.
    """
    parts = [
        *(f"{target.name} {_digest(target.path)}" for target in targets),
        spec.model_copy(update={"seed": 0}).digest,
        dataset.digest,
    ]
    return sha256("\n".join(parts).encode()).hexdigest()


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
