"""A user's LightningModule, run as Lightning runs it: `PortHost` for torch.

One real `Trainer.fit`, fed with the plan's batches, with callbacks and hooks around the user's own
(`port_recorder`). Nothing of the user's code is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_mlp.contract import Array, Plan, Runtime, State, Tensors, TrainingData
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.lines import follow
from mnist_mlp.ports.pair_side import PairHost
from mnist_mlp.ports.protocol import (
    AskedStates,
    PortDescription,
    PortEpoch,
    PortFacts,
    PortJob,
    PortStep,
)
from mnist_mlp.ports.user_code import path_of, user_errors
from mnist_mlp.reference import kernel_name
from mnist_mlp_torch.port.describe import described
from mnist_mlp_torch.port.facts import Probed, probe
from mnist_mlp_torch.port.feed import EVALUATION_BATCH, Feed, Rows, inputs_only, loader_in_order
from mnist_mlp_torch.port.forward import ForwardTaker
from mnist_mlp_torch.port.free import Teller
from mnist_mlp_torch.port.functions import passing_by
from mnist_mlp_torch.port.gradient import watch_clipping
from mnist_mlp_torch.port.lines import watch
from mnist_mlp_torch.port.load import load, make_trainer, overrides
from mnist_mlp_torch.port.own_data import own_data
from mnist_mlp_torch.port.pair import TorchSide
from mnist_mlp_torch.port.pair_inputs import keys_of_step, takes_dictionary
from mnist_mlp_torch.port.pair_loop import LoopSide
from mnist_mlp_torch.port.recorder import Recorder
from mnist_mlp_torch.port.state import parameters_of, set_tensors


class Port(PairHost):
    """A port, loaded; `open` comes before it is run.

    Parameters
    ----------
    target : str
        `path/to/file.py:NAME`.
    """

    def __init__(self, target: str, runtime: Runtime) -> None:
        torch.set_num_threads(runtime.threads)
        if torch.get_num_interop_threads() != 1:  # torch lets it be set once
            torch.set_num_interop_threads(1)
        torch._dynamo.config.disable = True  # compiled modules have no layers to look into
        watch_clipping()
        watch()
        follow(path_of(target))
        self.runtime = runtime
        self.given = load(target)
        self.description: PortDescription = described(self.given)

    def open(self, *, data: TrainingData, image_shape: tuple[int, ...]) -> PortFacts:
        """Run one batch, shaped as `image_shape`, and tell what was seen.

        Raises
        ------
        UsageError
            It is a loop, which runs its own batches.
        """
        if self.given.loop is not None:
            raise UsageError(
                f"{self.given.target}: a training loop is judged against an original, not against "
                f"a specification: check ORIGINAL {self.given.target}"
            )
        self.image_shape = image_shape
        own = own_data(self.given)
        self.keys = own.keys if own is not None else keys_of_step(self.given.fresh(seed=0))
        self.probed: Probed = probe(
            self.given,
            self.runtime,
            data=data,
            image_shape=image_shape,
            own=own,
            keys=self.keys,
        )
        self._module: Any = None  # the one that was trained last
        return self.facts

    @property
    def facts(self) -> PortFacts:
        """What is known of it before it trains."""
        return self.probed.facts

    def make_side(self) -> TorchSide:
        """The same model, as one side of a pair."""
        kind = TorchSide if self.given.loop is None else LoopSide
        return kind(self.given, self.runtime)

    # --- Judged training --------------------------------------------------------------------------

    def fit(
        self,
        job: PortJob,
        *,
        ask_state: Callable[[int], State],
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        """One real fit over the plan's epochs, recorded; then the stress batch."""
        job = replace(job, shared=AskedStates(job.shared, ask_state))
        plan, data = job.plan, job.data
        module = self._module = self.given.fresh(seed=plan.spec.seed)
        feed = self._feed(plan, data)
        recorder = self._recorder(module, job, feed, data.train_labels, on_step, on_epoch)
        trainer = make_trainer(
            self.given,
            module,
            self.runtime,
            epochs=plan.spec.training.epochs,
            first=recorder.first,
            last=recorder.last,
        )
        watched = recorder.watching()
        watched.enter_context(passing_by(module, job.passed_by))
        with user_errors(self.given.path), watched:
            trainer.fit(module, feed.training(lambda: trainer.current_epoch + 1), feed.validation())
        recorder.finish(trainer)
        if job.stress is not None:
            self._stress(module, job, on_step)

    def _stress(self, module: Any, job: PortJob, on_step: Callable[[PortStep], None]) -> None:
        """One more batch, in a fit of its own, so that precision and hooks are as they were."""
        assert job.stress is not None
        state, images, labels = job.stress
        alone = replace(job, shared={1: state}, stress=None)
        rows = self._rows(images, labels, job.plan)
        # Three batches, and only the first is run: nothing happens that an epoch's end brings.
        feed = Feed(
            rows,
            rows,
            lambda _: [np.arange(len(labels))] * 3,
            steps_per_epoch=3,
            batch_size=len(labels),
        )

        def tell(recorded: PortStep) -> None:
            on_step(replace(recorded, step=None))

        recorder = self._recorder(module, alone, feed, labels, tell, lambda _: None)
        trainer = make_trainer(
            self.given,
            module,
            self.runtime,
            epochs=1,
            one_batch=True,
            first=recorder.first,
            last=recorder.last,
        )
        watched = recorder.watching()
        watched.enter_context(passing_by(module, job.passed_by))
        with user_errors(self.given.path), watched:
            trainer.fit(module, feed.training(lambda: 1))
        recorder.finish(trainer)

    def _recorder(
        self,
        module: Any,
        job: PortJob,
        feed: Feed,
        labels: Array,
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> Recorder:
        return Recorder(
            module,
            self.probed.dense,
            shared=job.shared,
            start=job.plan.initial_weights,
            steps_per_epoch=feed.steps_per_epoch,
            batch_size=feed.batch_size,
            labels_of=lambda epoch, number: labels[feed.batch(epoch, number)],
            test_labels=job.data.test_labels,
            classes=job.plan.spec.model.layer_sizes[-1],
            clips=job.plan.spec.optimizer.clip_norm > 0,
            on_step=on_step,
            on_epoch=on_epoch,
        )

    def _feed(self, plan: Plan, data: TrainingData) -> Feed:
        return Feed(
            self._rows(data.train_images, data.train_labels, plan),
            self._rows(data.test_images, data.test_labels, plan),
            lambda epoch: list(plan.batches(epoch)),
            steps_per_epoch=plan.steps_per_epoch,
            batch_size=plan.spec.training.batch_size,
        )

    def _rows(self, images: Array, labels: Array, plan: Plan) -> Rows:
        """float32, but float64 where both the specification and the module are."""
        kinds = {layer.dtype for layer in self.facts.layers if layer.dense}
        double = kinds == {"float64"} and plan.spec.training.precision == "float64"
        dtype = torch.float64 if double else torch.float32
        return self._rows_of(images, labels, dtype)

    def _rows_of(self, images: Array, labels: Array, dtype: torch.dtype) -> Rows:
        return Rows(images, labels, shape=self.image_shape, dtype=dtype, keys=self.keys)

    # --- Free training, and evaluation ------------------------------------------------------------

    def train(
        self,
        plan: Plan,
        data: TrainingData,
        *,
        seed: int,
        native: bool,
        on_epoch: Callable[[Mapping[str, float]], None],
    ) -> float:
        """Train as `fit` does but watch nothing; accuracy on the test rows."""
        module = self._module = self.given.fresh(seed=seed)
        teller = Teller(module, on_epoch)
        feed = self._feed(plan, data)

        def on_train_start(trainer: Any, module: Any) -> None:
            del trainer
            if not native:
                parameters = parameters_of(module, self.probed.dense)
                set_tensors(parameters, plan.initial_weights, lambda parameter: parameter)

        trainer = make_trainer(
            self.given,
            module,
            self.runtime,
            epochs=plan.spec.training.epochs,
            first=teller.first,
            last={**teller.last, "on_train_start": on_train_start},
        )
        with user_errors(self.given.path), teller.reported.listening():
            trainer.fit(module, feed.training(lambda: trainer.current_epoch + 1), feed.validation())
        logits = self._evaluate(module, feed.validation_rows)
        return float((logits.argmax(axis=1) == data.test_labels).mean())

    def predict(self, weights: Tensors, images: NDArray[np.uint8]) -> Array:
        """Output of the last dense layer when the module evaluates, `(n, classes)`."""
        module = self.given.fresh(seed=0) if self._module is None else self._module
        set_tensors(parameters_of(module, self.probed.dense), weights, lambda p: p)
        dtype = torch.float64 if weights[kernel_name(0)].dtype == np.float64 else torch.float32
        labels = np.zeros(len(images), np.uint8)
        rows = self._rows_of(images, labels, dtype)
        return self._evaluate(module, rows)

    def _evaluate(self, module: Any, rows: Rows) -> Array:
        """As the user evaluates: by `validation_step` where there is one, else by `forward`."""
        chunks: list[Array] = []
        forward = ForwardTaker(module, self.probed.dense)

        def starts(*_: Any) -> None:
            forward.start(judged=False, rows=EVALUATION_BATCH)

        def ends(*_: Any) -> None:
            forward.stop()
            if forward.logits is not None:
                chunks.append(forward.logits)

        if not overrides(module, "validation_step") and not overrides(module, "forward"):
            raise UsageError(
                f"{self.given.path}: neither forward nor validation_step: nothing to evaluate with"
            )
        kind = "validation" if overrides(module, "validation_step") else "predict"
        trainer = make_trainer(
            self.given,
            module,
            self.runtime,
            epochs=1,
            first={f"on_{kind}_batch_start": starts},
            last={f"on_{kind}_batch_end": ends},
            limit_val_batches=1.0,
        )
        try:
            with user_errors(self.given.path):
                if kind == "validation":
                    trainer.validate(module, loader_in_order(rows), verbose=False)
                else:
                    labelled = overrides(module, "predict_step") or takes_dictionary(module)
                    trainer.predict(module, (loader_in_order if labelled else inputs_only)(rows))
        finally:
            forward.close()
        return np.concatenate(chunks)
