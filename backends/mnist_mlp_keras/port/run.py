"""One real `fit` of a user's model on the plan's batches, with some steps judged."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array, State, StepRecord, Tensors
from mnist_mlp.ports.epoch_counts import EpochCounts
from mnist_mlp.ports.protocol import PortEpoch, PortStep
from mnist_mlp_keras.port.recorder import Mode, Recorder
from mnist_mlp_keras.port.state import PortState

Step = Callable[[Any], Any]

PASSED_ON = ("callbacks", "class_weight")
"""Arguments of a user's `fit` that still mean something when the plan feeds the batches."""


class Labels:
    """The labels of the plan's batches, which are told from their order."""

    def __init__(
        self, train: Callable[[int], Array], test: Array, *, batch_size: int, classes: int
    ) -> None:
        self.train = train
        self.test = test
        self.batch_size = batch_size
        self.classes = classes

    def tested(self, batch: int) -> Array:
        """Those of a validation batch, from 0."""
        return self.test[batch * self.batch_size : (batch + 1) * self.batch_size]


class Judge(keras.callbacks.Callback):
    """Dispatches each batch, and reports what came of it.

    Judged steps run through a function of their own, made of the same `train_step`, in which the
    recorder's hooks were at work when it was traced.
    """

    def __init__(
        self,
        recorder: Recorder,
        state: PortState,
        labels: Labels,
        *,
        shared: Mapping[int, State],
        clips: bool,
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        super().__init__()
        self.clips = clips
        self.recorder = recorder
        self.state = state
        self.labels = labels
        self.shared = shared
        self.on_step = on_step
        self.on_epoch = on_epoch
        self.step = 0
        self.counts = EpochCounts(classes=labels.classes)
        self.validating = False
        self.validated = 0
        self.functions: dict[Mode, Step] = {}
        self._stages: Stages | None = None
        self._found: Tensors | None = None

    # --- In place of the model's own functions ----------------------------------------------------

    def train_function(self, iterator: Any) -> Any:
        """One step."""
        mode: Mode = "full" if self.step in self.shared else "light"
        self.state.remember_rate()
        with self.recorder.recording(mode):
            logs = self.functions[mode](iterator)
        self.counts.batch()
        self._count(self.counts.train, self.recorder.loss, self.labels.train(self.step))
        return logs

    def test_function(self, iterator: Any) -> Any:
        """One batch of an evaluation; counted if it is that of the epoch's end."""
        with self.recorder.recording("light"):
            logs = self.test(iterator)
        if self.validating:
            labels = self.labels.tested(self.validated)
            self._count(self.counts.validation, self.recorder.tested_loss, labels)
            self.validated += 1
        return logs

    def _count(self, add: Callable[..., None], loss: float | None, labels: Array) -> None:
        """The batch that was just run, unless the model was not called in it.

        An own step may go through none of the hooks: then there is no loss.
        """
        outputs, logits = self.recorder.outputs(), self.recorder.logits()
        if outputs is None or logits is None or not len(outputs) == len(logits) == len(labels):
            return
        add(loss, labels, logits, outputs)

    @contextmanager
    def in_charge(self, model: Any) -> Iterator[None]:
        """Let `fit` call these functions."""
        for mode in ("full", "light", "dry"):
            self.functions[mode] = made_function(model, "train")
        self.test = made_function(model, "test")
        model.train_function, model.test_function = self.train_function, self.test_function
        model.make_train_function = lambda force=False: self.train_function
        model.make_test_function = lambda force=False: self.test_function
        try:
            yield
        finally:
            del model.make_train_function, model.make_test_function
            model.train_function = model.test_function = None

    # --- As a callback ----------------------------------------------------------------------------

    def enter(self) -> None:
        """Before a batch, and before any callback of the user's."""
        self.close()
        self.step += 1
        shared = self.shared.get(self.step)
        if shared is not None:
            judged_before = self.step - 1 in self.shared
            self._found = None if judged_before else self.state.read(shared).weights
            self.state.load(shared)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keep what a judged step computed."""
        del batch, logs
        if self.step in self.shared:
            self._stages = stages(self.recorder, clips=self.clips)

    def close(self) -> None:
        """Record the judged step, with what the user's callbacks have done to the weights since.

        Late, when the next batch begins or `fit` has ended: an epoch may have ended in between.
        """
        if self._stages is None:
            return
        seen, self._stages = self._stages, None
        shared = self.shared[self.step]
        record = step_record(seen, self.state, shared)
        self.on_step(PortStep(self.step, record, found=self._found))

    def on_test_begin(self, logs: Any = None) -> None:
        """The validation of `fit`; a user's own `evaluate` does not call this."""
        del logs
        self.validating, self.validated = True, 0

    def on_test_end(self, logs: Any = None) -> None:
        """The end of it."""
        del logs
        self.validating = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report what the framework holds as the epoch's metrics."""
        self.on_epoch(self.counts.finish(epoch + 1, plain_numbers(logs or {})))


class Entry(keras.callbacks.Callback):
    """The first of all callbacks, as the judge is the last."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Let the judge set the shared state."""
        del batch, logs
        self.judge.enter()


def made_function(model: Any, kind: str) -> Step:
    """A new function around the model's step, as the model itself makes it."""
    setattr(model, f"{kind}_function", None)
    getattr(model, f"make_{kind}_function")()
    function: Step = getattr(model, f"{kind}_function")
    return function


def plain_numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Scalars of an epoch's logs."""
    numbers = {}
    for name, value in logs.items():
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype.kind in "fiub":
            numbers[str(name)] = float(array)
    return numbers


@dataclass(frozen=True, eq=False)
class Stages:
    """What a step computed before its update."""

    inputs: tuple[Array, ...]
    pre_activations: tuple[Array, ...]
    loss: float
    gradient: dict[str, Array]


def stages(recorder: Recorder, *, clips: bool) -> Stages:
    """Of the step that was just run."""
    loss = recorder.loss
    return Stages(
        inputs=recorder.inputs(),
        pre_activations=recorder.pre_activations(),
        loss=float("nan") if loss is None else loss,
        gradient=recorder.gradient(clips=clips),
    )


def step_record(seen: Stages, state: PortState, shared: State) -> StepRecord:
    """A step with the state that it left behind."""
    return StepRecord(
        inputs=seen.inputs[0],
        pre_activations=seen.pre_activations,
        activations=seen.inputs[1:],
        loss=seen.loss,
        gradient=seen.gradient,
        state=state.read(shared),
    )


@contextmanager
def as_one_step(model: Any) -> Iterator[None]:
    """One step a call and no XLA: how a step is executed, not what it computes."""
    before = model.steps_per_execution, model.jit_compile
    model.steps_per_execution, model.jit_compile = 1, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            model.steps_per_execution, model.jit_compile = before


def passed_on(fit: Mapping[str, Any]) -> dict[str, Any]:
    """A user's `fit` arguments that are kept; callbacks may be classes or functions."""
    kept = {key: fit[key] for key in PASSED_ON if fit.get(key) is not None}
    callbacks = kept.pop("callbacks", [])
    if not isinstance(callbacks, list | tuple):
        callbacks = [callbacks]
    kept["callbacks"] = [
        item if isinstance(item, keras.callbacks.Callback) else item() for item in callbacks
    ]
    return kept
