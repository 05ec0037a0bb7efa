"""A user's compiled `keras.Model`, run as Keras would run it: a `PortHost`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array, Plan, State, Tensors, TrainingData
from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.lines import follow
from mnist_mlp.ports.pair_side import PairHost
from mnist_mlp.ports.protocol import AskedStates, PortEpoch, PortFacts, PortJob, PortStep
from mnist_mlp.ports.user_code import path_of, user_errors
from mnist_mlp_keras.engine import eager_functions, planned_dataset
from mnist_mlp_keras.port.describe import describe
from mnist_mlp_keras.port.facts import draws, optimizer_settings
from mnist_mlp_keras.port.free import Teller
from mnist_mlp_keras.port.lines import roles, watch
from mnist_mlp_keras.port.load import (
    Given,
    dense_of,
    described,
    hidden,
    layers_in_order,
    loss_name,
    one_hot,
    passing_by,
    shaped,
    wanted_shape,
    wants_one_hot,
)
from mnist_mlp_keras.port.own_data import DATA, OF_ALL, OF_ARRAYS, own_data
from mnist_mlp_keras.port.pair import KerasSide
from mnist_mlp_keras.port.pair_loop import LoopSide
from mnist_mlp_keras.port.recorder import Recorder
from mnist_mlp_keras.port.run import (
    PASSED_ON,
    Entry,
    Judge,
    Labels,
    as_one_step,
    passed_on,
    stages,
    step_record,
)
from mnist_mlp_keras.port.scripts import found_in
from mnist_mlp_keras.port.state import PortState

TRIED_ROWS = 4
LOOKED_AT = (*DATA, *OF_ARRAYS, *OF_ALL, "epochs", "verbose")
"""Arguments of a user's `fit` that are judged without being passed on."""
PREDICTED_ROWS = 2048


class KerasPort(PairHost):
    """A port, loaded; `open` comes before it is run."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.path = path_of(target)
        watch()
        follow(self.path)
        with user_errors(self.path):
            self.given = Given(found_in(target), target=target)
            looped = self.given.loop is not None
            self.description = replace(describe(self.given.first()), loop=looped)

    def open(self, *, data: TrainingData, image_shape: tuple[int, ...]) -> PortFacts:
        """Run a few rows, shaped as the model wants them, and tell what was seen."""
        self.classes = int(max(data.train_labels.max(), data.test_labels.max())) + 1
        with user_errors(self.path):
            model = self.given.first()
            self.shape = wanted_shape(model, image_shape)
            x = shaped(data.train_images[:TRIED_ROWS], self.shape)
            layers = layers_in_order(model, x)
            self.given.remember()
            self.one_hot = wants_one_hot(model, x, data.train_labels[:TRIED_ROWS], self.classes)
            own = own_data(
                self.given,
                rows=len(data.train_labels),
                fed=lambda: self._fed(data.train_images, data.train_labels),
            )
            found = draws(self.given, x)
        self._recorder: Recorder | None = None
        fit = self.given.fit
        self.facts = PortFacts(
            framework="keras",
            layers=tuple(described(layer) for layer in layers),
            draws=found,
            optimizer=optimizer_settings(model),
            loss=loss_name(model),
            batch_size=fit.get("batch_size"),
            epochs=fit.get("epochs"),
            shuffle=fit.get("shuffle"),
            own=own,
            hidden=hidden(model),
            left_out=(
                *(f"fit({key}=...)" for key in fit if key not in (*PASSED_ON, *LOOKED_AT)),
                *getattr(self.given.found, "others", ()),
            ),
            options={
                key: str(value)
                for key, value in fit.items()
                if key not in ("batch_size", "epochs", "shuffle", "validation_data", *DATA)
            },
            lines=roles(model, passed_on(fit)["callbacks"], self.given.loader),
        )
        return self.facts

    def make_side(self) -> KerasSide:
        """The same model, as one side of a pair."""
        kind = KerasSide if self.given.loop is None else LoopSide
        return kind(self.target, self.given)

    # --- Judged training --------------------------------------------------------------------------

    def _fed(self, images: Array, labels: Array, plan: Plan | None = None) -> tuple[Array, Array]:
        """In float64 where both the specification and the model are."""
        y = one_hot(labels, self.classes) if self.one_hot else labels.astype(np.int64)
        double = plan is not None and plan.spec.training.precision == "float64"
        double = double and {x.dtype for x in self.facts.layers if x.dense} == {"float64"}
        return shaped(images, self.shape, dtype="float64" if double else "float32"), y

    def _opened(self, images: Array) -> tuple[Any, list[Any]]:
        """A model in its first state, built, and its Dense layers in order of execution."""
        model = self.given.fresh()
        x = shaped(images[:TRIED_ROWS], self.shape)
        return model, dense_of(layers_in_order(model, x))

    def _recorder_of(self, model: Any, dense: list[Any]) -> Recorder:
        """One a model: graphs that a user's own `tf.function` has built keep to the first."""
        if self._recorder is None or self._recorder.model is not model:
            self._recorder = Recorder(model, dense)
        return self._recorder

    def fit(
        self,
        job: PortJob,
        *,
        ask_state: Callable[[int], State],
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        """See `PortHost.fit`."""
        job = replace(job, shared=AskedStates(job.shared, ask_state))
        plan, data = job.plan, job.data
        size = plan.spec.training.batch_size
        with user_errors(self.path):
            model, dense = self._opened(data.train_images)
            state, recorder = PortState(model, dense), self._recorder_of(model, dense)
            labels = Labels(
                _labels_of(plan, data),
                data.test_labels,
                batch_size=size,
                classes=max([self.classes, *(layer.units for layer in dense[-1:])]),
            )
            judge = Judge(
                recorder,
                state,
                labels,
                shared=job.shared,
                clips=plan.spec.optimizer.clip_norm > 0,
                on_step=on_step,
                on_epoch=on_epoch,
            )
            state.load_weights(plan.initial_weights)
            with (
                as_one_step(model),
                recorder.attached(),
                passing_by(model, job.passed_by),
                judge.in_charge(model),
            ):
                self._run(model, plan, data, judge)
                judge.close()
                if job.stress is not None:
                    shared, images, classes = job.stress
                    state.load(shared)
                    batch = planned_dataset(
                        *self._fed(images, classes, plan),
                        np.arange(len(images))[None],
                        batch_size=len(images),
                        weights=self._row_weights(classes),
                    )
                    with recorder.recording("dry"):
                        judge.functions["dry"](iter(batch))
                    seen = stages(recorder, clips=judge.clips)
                    on_step(PortStep(None, step_record(seen, state, shared)))

    def _run(
        self,
        model: Any,
        plan: Plan,
        data: TrainingData,
        *judges: Judge,
        last: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """The one real `fit`."""
        size, epochs = plan.spec.training.batch_size, plan.spec.training.epochs
        test_order = np.arange(len(data.test_labels))[None]
        options = passed_on(self.given.fit)
        options["callbacks"] = [*map(Entry, judges), *options["callbacks"], *judges, *last]
        orders = np.stack([plan.order(epoch) for epoch in range(1, epochs + 1)])
        model.fit(
            planned_dataset(
                *self._fed(data.train_images, data.train_labels, plan), orders, batch_size=size
            ),
            epochs=epochs,
            steps_per_epoch=plan.steps_per_epoch,
            validation_data=planned_dataset(
                *self._fed(data.test_images, data.test_labels, plan), test_order, batch_size=size
            ),
            shuffle=False,
            verbose=0,
            **options,
        )

    def _row_weights(self, classes: Array) -> Array | None:
        """What `fit` makes of `class_weight`, for a batch that it does not feed."""
        given = self.given.fit.get("class_weight")
        if given is None:
            return None
        return np.array([given.get(int(label), 1.0) for label in classes], np.float32)

    def predict(self, weights: Tensors, images: Array) -> Array:
        """See `PortHost.predict`."""
        with user_errors(self.path):
            model, dense = self._opened(images)
            PortState(model, dense).load_weights(weights)
            return self._logits(model, dense, images)

    def _logits(self, model: Any, dense: list[Any], images: Array) -> Array:
        recorder = self._recorder_of(model, dense)
        options = {"training": False} if model._call_has_training_arg else {}
        parts: list[Array] = []
        with recorder.attached(), eager_functions():
            for start in range(0, len(images), PREDICTED_ROWS):
                rows = shaped(images[start : start + PREDICTED_ROWS], self.shape)
                with recorder.recording("light"):  # a recording keeps what comes first
                    model(rows, **options)
                logits = recorder.logits()
                if logits is None:
                    raise UserCodeError(f"{self.target}: calling the model runs no Dense layer")
                parts.append(logits)
        return np.concatenate(parts)

    def train(
        self,
        plan: Plan,
        data: TrainingData,
        *,
        seed: int,
        native: bool,
        on_epoch: Callable[[Mapping[str, float]], None],
    ) -> float:
        """See `PortHost.train`."""
        with user_errors(self.path):
            keras.utils.set_random_seed(seed)
            model, dense = self._opened(data.train_images)
            if not native:
                PortState(model, dense).load_weights(plan.initial_weights)
            self._run(model, plan, data, last=[Teller(on_epoch)])
            logits = self._logits(model, dense, data.test_images)
        return float((logits.argmax(axis=1) == data.test_labels).mean())


def _labels_of(plan: Plan, data: TrainingData) -> Callable[[int], Array]:
    """Labels of a step (from 1)."""
    size, per_epoch = plan.spec.training.batch_size, plan.steps_per_epoch
    kept: dict[int, Array] = {}

    def labels(step: int) -> Array:
        epoch, position = divmod(step - 1, per_epoch)
        if epoch not in kept:
            kept.clear()
            kept[epoch] = data.train_labels[plan.order(epoch + 1)]
        return kept[epoch][position * size : (position + 1) * size]

    return labels
