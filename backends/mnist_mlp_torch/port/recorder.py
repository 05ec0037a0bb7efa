"""What is recorded while a user's module trains, as callbacks around the user's own.

A step's record is closed late, when the next batch begins: the module's own `on_train_batch_end`
runs after every callback, and what it does to the weights belongs to the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from mnist_mlp.contract import Array, State, StepRecord, Tensors
from mnist_mlp.ports.epoch_counts import EpochCounts
from mnist_mlp.ports.protocol import PortEpoch, PortStep
from mnist_mlp_torch.port.forward import ForwardTaker
from mnist_mlp_torch.port.gradient import GradientTaker
from mnist_mlp_torch.port.layers import Dense
from mnist_mlp_torch.port.listener import Listener
from mnist_mlp_torch.port.state import canonical, parameters_of, set_state, set_tensors, slots

Hook = Callable[..., None]


class Recorder:
    """Sets states before judged steps and keeps what the module makes of them.

    Parameters
    ----------
    layers : dense layers in order of execution
    shared : states by step, from 1
    start : weights before the first step, where no state is given
    labels_of : labels of the batch with a number (from 0) of an epoch (from 1)
    clips : whether the specification clips gradients
    """

    def __init__(
        self,
        module: Any,
        layers: Sequence[Dense],
        *,
        shared: Mapping[int, State],
        start: Tensors,
        steps_per_epoch: int,
        batch_size: int,
        labels_of: Callable[[int, int], Array],
        test_labels: Array,
        classes: int,
        clips: bool,
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        self.module, self.layers = module, layers
        self.shared, self.start = shared, start
        self.steps_per_epoch, self.labels_of = steps_per_epoch, labels_of
        self.test_labels, self.clips, self.batch_size = test_labels, clips, batch_size
        self.on_step, self.on_epoch = on_step, on_epoch
        self.counts = EpochCounts(classes=classes)
        self.listener = Listener(module)
        self._pending: int | None = None
        self._found: Tensors | None = None
        self._epoch = 0
        self._begun = False

    def watching(self) -> ExitStack:
        """A context in which the module is watched; `Trainer.fit` belongs inside."""
        stack = ExitStack()
        stack.enter_context(self.listener.listening(self._before_clip, self._given))
        stack.callback(self._close)
        return stack

    def _before_clip(self) -> None:
        if self._begun:
            self.gradient.take()

    def _given(self, gradients: dict[int, Any]) -> None:
        if self._begun:
            self.gradient.given(gradients)

    def _close(self) -> None:
        if self._begun:
            self.forward.close()
            self.gradient.close()

    @property
    def first(self) -> dict[str, Hook]:
        """Hooks that run before the user's."""
        return {
            "on_train_epoch_start": self._epoch_starts,
            "on_train_batch_start": self._batch_starts,
            "on_validation_start": self._validation_starts,
            "on_validation_batch_start": self._validation_batch_starts,
            "on_train_epoch_end": self._batches_end,
            "on_train_end": self._training_ends,
        }

    @property
    def last(self) -> dict[str, Hook]:
        """Hooks that run after the user's callbacks."""
        return {
            "on_train_batch_end": self._batch_ends,
            "on_validation_batch_end": self._validation_batch_ends,
        }

    # --- Training batches -------------------------------------------------------------------------

    def _begin(self) -> None:
        """Only now does the module have the parameters that it will train."""
        self._begun = True
        self.parameters = parameters_of(self.module, self.layers)
        self.forward = ForwardTaker(self.module, self.layers)
        self.gradient = GradientTaker(
            self.parameters, clips=self.clips, updates=self.listener.updated
        )
        set_tensors(self.parameters, self.start, lambda parameter: parameter)

    def _batch_starts(self, trainer: Any, module: Any, batch: Any, number: int) -> None:
        del module, batch
        if not self._begun:
            self._begin()
        self._close_step(trainer)
        self.counts.batch()
        step = trainer.current_epoch * self.steps_per_epoch + number + 1
        state = self.shared.get(step)
        rows = len(self.labels_of(trainer.current_epoch + 1, number))
        if state is not None:
            self._found = None if step - 1 in self.shared else self._weights()
            set_state(self.parameters, trainer.optimizers, state)
            self._pending = step
            self.gradient.start()
        self.forward.start(judged=state is not None, rows=rows)
        self.listener.start()
        self.listener.per_step = True

    def _batch_ends(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
        del module, outputs, batch
        self.forward.stop()
        logits, loss = self.forward.logits, self.listener.loss
        labels = self.labels_of(trainer.current_epoch + 1, number)
        if logits is not None and len(logits) == len(labels):
            self.counts.train(loss, labels, logits)
        if self._pending is not None:
            self._stages = (*self.forward.stages(), loss)
            self._updates = self.listener.updates

    def _close_step(self, trainer: Any) -> None:
        """Record the state that the judged step left."""
        if self._pending is None:
            return
        step, self._pending = self._pending, None
        inputs, pre_activations, activations, loss = self._stages
        kept = slots(self.parameters, trainer.optimizers, self.shared[step].slots)
        # Memory outside of the optimizer may be worked into the buffers that it reads.
        own_memory = bool(kept) and not any(kept.values())
        self.on_step(
            PortStep(
                step,
                StepRecord(
                    inputs=inputs,
                    pre_activations=pre_activations,
                    activations=activations,
                    loss=loss,
                    gradient=self.gradient.finish(as_left=own_memory),
                    state=State(step=step - 1 + self._updates, weights=self._weights(), slots=kept),
                ),
                found=self._found,
            )
        )

    def _weights(self) -> dict[str, Array]:
        return canonical(self.parameters, lambda parameter: parameter)

    def finish(self, trainer: Any) -> None:
        """`fit` has ended, and whatever it does to the weights at its end is done."""
        self._close_step(trainer)

    # --- Validation and epochs --------------------------------------------------------------------

    def _validation_starts(self, *_: Any) -> None:
        self._batches_end()
        self.counts.restart_validation()

    def _batches_end(self, *_: Any) -> None:
        self.listener.per_step = False

    def _validation_batch_starts(self, *_: Any) -> None:
        if self._begun:
            self.forward.start(judged=False, rows=self.batch_size)
            self.listener.start()

    def _validation_batch_ends(
        self,
        trainer: Any,
        module: Any,
        outputs: Any,
        batch: Any,
        number: int,
        dataloader_idx: int = 0,
    ) -> None:
        del trainer, module, outputs, batch, dataloader_idx
        if not self._begun:
            return
        self.forward.stop()
        logits = self.forward.logits
        labels = self.test_labels[number * self.batch_size :][: self.batch_size]
        if logits is not None and len(logits) == len(labels):
            self.counts.validation(self.listener.validation_loss, labels, logits)

    def _epoch_starts(self, trainer: Any, module: Any) -> None:
        del module
        self._close_epoch(trainer)
        self._epoch = trainer.current_epoch + 1

    def _close_epoch(self, trainer: Any) -> None:
        """All hooks of the epoch have run by now, and logged what they had to."""
        if self._epoch:
            reported = self.listener.of_the_epoch(trainer.callback_metrics)
            self.on_epoch(self.counts.finish(self._epoch, reported))
        self._epoch = 0

    def _training_ends(self, trainer: Any, module: Any) -> None:
        del module
        self._close_epoch(trainer)
