"""The training run of the reference, and the states from which both sides start their steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from threading import Condition, Event, RLock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp import reference
from mnist_mlp.contract import State, TrainingData
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.reference import Array


@dataclass(frozen=True, eq=False)
class Batches:
    """Mean loss, rows and correct predictions of each batch of an epoch, before its update."""

    losses: NDArray[np.float64]
    rows: NDArray[np.int64]
    correct: NDArray[np.int64]


def batch_of(plan: Plan, data: TrainingData, step: int) -> tuple[Array, Array]:
    """Images uint8 (n, inputs) and labels (n,) of a step; steps count from 1."""
    epoch, position = divmod(step - 1, plan.steps_per_epoch)
    size = plan.spec.training.batch_size
    rows = plan.order(epoch + 1)[position * size : (position + 1) * size]
    return data.train_images[rows], data.train_labels[rows]


_COMPUTING = RLock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy compute matrix products on one thread in this block.

    On a busy machine its threads wait actively for each other and compete with other processes.
    The same work then takes three to ten times as long. The limit holds for the whole process, and
    only the thread that has set it may lift it. So threads enter this block one after the other.
    """
    from threadpoolctl import threadpool_limits

    if _throughout.is_set():
        yield
        return
    with _COMPUTING, threadpool_limits(1, user_api="blas"):
        yield


_throughout = Event()


@contextmanager
def one_blas_thread_throughout() -> Iterator[None]:
    """The same in all threads, which need not wait for each other, until this block ends.

    If another thread has set the limit already, nothing is done: this block is only for speed.
    """
    from threadpoolctl import threadpool_limits

    if _throughout.is_set() or not _COMPUTING.acquire(blocking=False):
        yield
        return
    try:
        with threadpool_limits(1, user_api="blas"):
            _throughout.set()
            try:
                yield
            finally:
                _throughout.clear()
    finally:
        _COMPUTING.release()


KEPT = 16
"""Most states between epochs that a run keeps to continue from; in float64, each takes twice the
memory of the weights."""


class ReferenceRun:
    """The training run of the reference, computed only as far as it is asked for.

    What was computed is kept, so that all who judge a run share one trajectory. Safe to use from
    several threads.

    Parameters
    ----------
    plan, data
        What is trained, on which rows.
    dtype : NumPy dtype
        Arithmetic of the run, float64 for the arbiter. The states always have the precision of the
        specification.
    order : callable, optional
        Returns the positions of the rows for an epoch, in place of the plan's order.
    """

    def __init__(
        self,
        plan: Plan,
        data: TrainingData,
        *,
        dtype: Any = np.float64,
        order: Callable[[int], Ids] | None = None,
    ) -> None:
        self.plan, self.data = plan, data
        self._order = order or plan.order
        weights = {name: w.astype(dtype) for name, w in plan.initial_weights.items()}
        slots = reference.initial_slots(plan.spec.optimizer, weights)
        self._between = {0: (0, State(0, weights, slots))}
        """Whole epochs that are done and the exact state after them, by the steps done."""
        self._passed: dict[int, tuple[int, State]] = {}
        """The same of another run, in its own precision."""
        self._states: dict[int, State] = {}
        self._epochs: list[Batches] = []
        self._changed = Condition()
        self._busy = False
        """Whether a thread computes. It alone changes what is kept, and others wait."""

    def states(self, before: Collection[int]) -> dict[int, State]:
        """The states before these steps, in the precision of the specification.

        Steps count from 1. The number after the last step asks for the final state. A state that
        another thread has computed on its way to later ones is returned at once.
        """
        wanted = set(before)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy or wanted <= self._states.keys())
            missing = sorted(wanted - self._states.keys())
            if not missing:
                return {step: self._states[step] for step in sorted(wanted)}
            self._busy = True
        try:
            for done, steps in [(k, list(g)) for k, g in groupby(missing, key=self._nearest)]:
                self._run(done, steps)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        return {step: self._states[step] for step in sorted(wanted)}

    def epochs(self, count: int) -> list[Batches]:
        """The batches of each of the first `count` epochs, which no other run may have passed."""
        if len(self._epochs) < count:
            self.states([count * self.plan.steps_per_epoch + 1])
        return self._epochs[:count]

    def pass_through(self, states: Mapping[int, State]) -> None:
        """Go on from the states of another run after whole epochs, by epoch, and not from the own.

        So the epochs before need not be computed. What is asked for later is on the way of the
        other run, and computed in its precision. A state with numbers that are not finite, without
        all slots, or of other shapes is left out.
        """
        shapes = {name: w.shape for name, w in self.plan.initial_weights.items()}
        slots = reference.slot_names(self.plan.spec.optimizer)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            for epoch, state in states.items():
                if _complete(state, slots, shapes):
                    self._passed[state.step] = (epoch, state)

    def _nearest(self, step: int) -> int:
        return max(done for done in {*self._between, *self._passed} if done < step)

    def _run(self, done: int, wanted: Sequence[int]) -> None:
        """Train from a kept state, found by the steps `done` there, up to the last wanted step."""
        spec = self.plan.spec
        size = spec.training.batch_size
        own = done not in self._passed
        epoch, state = self._between[done] if own else self._passed[done]
        # The caller reports a run that diverges, so NumPy's warnings are turned off.
        with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
            while True:
                positions = self._order(epoch + 1)
                batches = []
                for start in range(0, len(positions), size):
                    if state.step + 1 in wanted:
                        with self._changed:
                            self._states[state.step + 1] = in_precision(
                                state, spec.training.precision
                            )
                            self._changed.notify_all()
                    if state.step + 1 >= wanted[-1]:
                        return
                    state, batch = self._step(state, positions[start : start + size])
                    batches.append(batch)
                if own and epoch == len(self._epochs):
                    self._epochs.append(Batches(*map(np.array, zip(*batches, strict=True))))
                epoch += 1
                self._keep(epoch, state)

    def _step(self, state: State, rows: Ids) -> tuple[State, tuple[float, int, int]]:
        """The state after one step; mean loss, rows and correct predictions of its batch."""
        spec, labels = self.plan.spec, self.data.train_labels[rows]
        dtype = next(iter(state.weights.values())).dtype
        x = reference.scale_pixels(self.data.train_images[rows], dtype=dtype)
        passed = reference.forward(state.weights, spec.model.activations, x)
        losses = reference.sample_losses(passed.logits, labels)
        right = int((passed.logits.argmax(axis=1) == labels).sum())
        gradient = reference.backward(state.weights, x, labels, passed)
        weights, slots = reference.update(
            spec.optimizer,
            weights=state.weights,
            slots=state.slots,
            gradient=gradient,
            step=state.step + 1,
        )
        return State(state.step + 1, weights, slots), (float(losses.mean()), len(labels), right)

    def _keep(self, epoch: int, state: State) -> None:
        """Keep a state between epochs; of too many, every second one and the newest."""
        self._between[state.step] = (epoch, state)
        if len(self._between) > KEPT:
            steps = sorted(self._between)
            self._between = {s: self._between[s] for s in {*steps[::2], steps[-1]}}


def begin(*wanted: Callable[[], object]) -> None:
    """Call functions that compute states of runs, in the background and one after the other.

    The process that the states are for starts meanwhile. Whoever asks a run for its states waits
    until it is done.
    """

    def compute() -> None:
        for function in wanted:
            function()

    # A daemon, so that a command that fails for another reason ends at once.
    Thread(target=compute, daemon=True).start()


def _complete(state: State, slots: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a run can go on from this state: all its numbers are there, and finite."""
    if not state.slots.keys() >= set(slots):
        return False
    groups = [state.weights, *(state.slots[slot] for slot in slots)]
    return all(
        {name: t.shape for name, t in group.items()} == shapes
        and all(np.isfinite(t).all() for t in group.values())
        for group in groups
    )


def in_precision(state: State, precision: Any) -> State:
    """The same state, rounded to a precision."""
    return State(
        step=state.step,
        weights={name: w.astype(precision) for name, w in state.weights.items()},
        slots={
            slot: {name: t.astype(precision) for name, t in tensors.items()}
            for slot, tensors in state.slots.items()
        },
    )
