"""What must be the same for a run to go on: its specification, its data, its plan and its runtime.

Nothing in training depends on the total number of epochs: the order of an epoch depends on its own
number, and a schedule names steps from the beginning. So this number may change. k epochs and then
n - k give the same bits as n epochs at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from mnist_mlp.errors import RunFolderError, UsageError
from mnist_mlp.plan import Plan
from mnist_mlp.run.checkpoint import CHECKPOINT_FILE, Checkpoint
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.shown import shown
from mnist_mlp.spec import Spec, spec_digest


def state_of(run: Run) -> Checkpoint:
    """The state from which a run goes on; an empty one if the run ended in its first epoch.

    Raises
    ------
    UsageError
        The run holds no optimizer state, since its backend does not report one, or since another
        program trained it.
    RunFolderError
        The checkpoint is damaged, or does not fit the rest of the folder; or `run.json` holds
        another specification than the run began with.
    """
    if run.record.spec_sha256 not in ("", spec_digest(run.record.spec)):
        raise RunFolderError(
            f"{run.path}/run.json: spec was changed after the run began: its digest is not "
            f"spec_sha256 ({run.record.spec_sha256[:12]}...); put it back, or train anew"
        )
    state = run.checkpoint
    if state is None:
        if run.history:
            raise UsageError(
                f"--resume {run.path}: has a history but no {CHECKPOINT_FILE}, so another program "
                f"or an earlier version trained it; train it from the beginning"
            )
        return Checkpoint(start_sha256="")
    if state.epoch and state.slots is None:
        raise UsageError(
            f"--resume {run.path}: backend {run.label!r} does not report the optimizer's state, so "
            f"its runs cannot go on; train it from the beginning"
        )
    if run.is_complete and list(state.history) != run.history:
        raise RunFolderError(f"{run.path}/{CHECKPOINT_FILE}: not of the epochs of history.csv")
    return state


def refuse_other_settings(run: Run, spec: Spec, given: Mapping[str, Any], *, done: int) -> None:
    """Refuse a changed specification or runtime, with every field that differs (`UsageError`).

    Parameters
    ----------
    spec : Spec
        The one to go on with. It may have another number of epochs, but not fewer than `done`.
    given : mapping
        What the user asked for by name: `backend.target`, `accelerator`, `threads`, `fit_path`.
    """
    wanted = run.spec.training.epochs, spec.training.epochs
    differing = other_settings(run, spec, given, but=("training.epochs",))
    if differing:
        raise UsageError(
            f"--resume {run.path}: only training.epochs may change, but {'; '.join(differing)}"
        )
    if wanted[1] < done:
        raise UsageError(
            f"--resume {run.path}: training.epochs is {wanted[1]}, but {done} epochs are trained"
        )
    if run.record.stopped_early:
        raise UsageError(
            f"--resume {run.path}: stopped early, after epoch {done}, as training.patience asks; "
            f"more epochs would change nothing"
        )
    if run.is_complete and wanted[1] <= wanted[0]:
        raise UsageError(
            f"--resume {run.path}: the run is complete, with all its {done} epochs; to train "
            f"longer, add --epochs with a larger number"
        )


def other_settings(
    run: Run, spec: Spec, given: Mapping[str, Any], *, but: Collection[str] = ()
) -> list[str]:
    """Each field of the specification and of the runtime that is another than the run's, in words.

    `given` is that of `refuse_other_settings`; the keys in `but` may differ.
    """
    before = dict(_leaves(run.spec.model_dump(mode="json")))
    now = dict(_leaves(spec.model_dump(mode="json")))
    recorded = dict(_leaves(run.record.document()))
    pairs = {key: (before[key], now[key]) for key in before if key not in but}
    pairs |= {key: (recorded.get(key), value) for key, value in given.items()}
    return [
        f"{key} is {shown(left)} in the run, {shown(right)} now"
        for key, (left, right) in pairs.items()
        if left != right
    ]


def refuse_other_plan(run: Run, state: Checkpoint, plan: Plan, dataset: Mapping[str, Any]) -> None:
    """Refuse another data set, and a plan that was drawn otherwise (`RunFolderError`).

    `dataset` is the content of `dataset` in a new `run.json`.
    """
    recorded = run.record.dataset.model_dump()
    keys = ("name", "sha256", "train_ids_sha256", "test_ids_sha256")
    pairs = {f"dataset.{key}": (recorded[key], dataset[key]) for key in keys}
    if state.epoch:
        start = tensors_digest(plan.initial_weights)
        pairs["initial_weights.safetensors"] = (tensors_digest(run.initial_weights), start)
        pairs[f"{CHECKPOINT_FILE}: start_sha256"] = (state.start_sha256, start)
    differing = [
        f"{key} is {shown(left)} in the run, {shown(right)} here"
        for key, (left, right) in pairs.items()
        if left != right
    ]
    if state.epoch and not differing and not _same_order(run, plan, done=state.epoch):
        differing = ["order.npz has another order than the plan"]
    if differing:
        raise RunFolderError(
            f"--resume {run.path}: needs the same data and the same plan, but "
            f"{'; '.join(differing)}"
        )


def _same_order(run: Run, plan: Plan, *, done: int) -> bool:
    """Whether the recorded order of the first and the last finished epoch is that of the plan.

    Each epoch has a random stream of its own, so a changed generator shows in any of them.
    """
    stored = run.order["epochs"]
    return len(stored) >= done and all(
        np.array_equal(stored[epoch - 1], plan.order(epoch)) for epoch in {1, done}
    )


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
