"""Train with `Trainer.fit`, and report each epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import lightning as L  # noqa: N812
from lightning.pytorch.callbacks import Callback

from mnist_mlp.contract import EpochRecord, Fallback, Plan, Progress, Runtime, State, TrainingData
from mnist_mlp_torch.captured import why_not_captured
from mnist_mlp_torch.data import PlannedData
from mnist_mlp_torch.fast import FastPerceptron, ResidentData
from mnist_mlp_torch.module import Perceptron


class Reports(Callback):
    """Send the metrics and weights of each epoch to the parent, and count Lightning's calls."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.calls = 0
        self.started = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Perceptron) -> None:
        """Start the epoch's clock."""
        del trainer, pl_module
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Perceptron, *_: Any, **__: Any
    ) -> None:
        """Report the number of steps so far. On the fast path, one call stands for a series."""
        self.calls += 1
        if trainer.is_global_zero:
            self.progress.step(pl_module.steps_done())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Perceptron) -> None:
        """Send the record of the epoch, and stop if told to.

        Lightning calls this after validation. Of several ranks, all compute the metrics, which adds
        up what each has counted. The first one reports, and tells the others whether to stop.
        """
        module = pl_module
        values = [float(metric.compute()) for metric in module.metrics]
        loss, accuracy, val_loss, val_accuracy = values
        for metric in module.metrics:
            metric.reset()
        stop = False
        if trainer.is_global_zero:
            record = EpochRecord(
                epoch=trainer.datamodule.epoch(),
                loss=loss,
                accuracy=accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=time.perf_counter() - self.started,
                weights=module.weights(),
                slots=module.slots(trainer.optimizers[0]),
            )
            stop = bool(self.progress.epoch(record))
        if trainer.strategy.broadcast(stop):
            trainer.should_stop = True


def epochs_done(module: Perceptron, plan: Plan) -> int:
    """Number of epochs that were trained before `module.start`."""
    return module.start.step // plan.steps_per_epoch


def make_trainer(
    plan: Plan, reports: Reports, runtime: Runtime, *, done: int, **options: Any
) -> L.Trainer:
    """A trainer for the epochs after the first `done` ones, which reports and does nothing else."""
    return L.Trainer(
        max_epochs=plan.spec.training.epochs - done,
        accelerator=runtime.accelerator,
        devices=runtime.devices.count,
        num_nodes=runtime.devices.nodes,
        precision="64-true" if plan.spec.training.precision == "float64" else "32-true",
        callbacks=[reports],
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(
    module: Perceptron,
    plan: Plan,
    data: TrainingData,
    *,
    progress: Progress,
    runtime: Runtime,
    start: State | None = None,
) -> Mapping[str, Any]:
    """Train `module` from `start`, or from the initial weights; returns facts about how it ran."""
    module.begin(start or State(0, plan.initial_weights))
    done = epochs_done(module, plan)
    fast = isinstance(module, FastPerceptron)
    if isinstance(module, FastPerceptron):
        module.capture_failed = lambda reason: progress.fallback(_uncaptured(reason))
        if module.device.type == "cuda" and (reason := why_not_captured(module)):
            progress.fallback(Fallback(reason, failed=False))
    reports = Reports(progress)
    trainer = make_trainer(plan, reports, runtime, done=done)
    trainer.fit(module, datamodule=(ResidentData if fast else PlannedData)(plan, data, done=done))
    traced = module.traced if isinstance(module, FastPerceptron) else None
    captured = module.captured if isinstance(module, FastPerceptron) else None
    return {
        "steps_per_call": round(trainer.global_step / reports.calls, 2),
        "traced_gradient": traced is not None,
        "onednn_products": traced.onednn_products if traced else 0,
        "cuda_graph": captured is not None and captured.failure is None,
    }


def _uncaptured(reason: str) -> Fallback:
    return Fallback(
        f"a step could not be captured as a CUDA graph ({reason}): its kernels are launched one "
        f"by one",
        failed=True,
    )
