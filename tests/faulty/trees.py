"""Backends that train, and train something else. Their names are trees, so that no name tells.

`step` and `fit` are two ways through a backend; some faults here are in both, some in `fit` alone.
"""

import os
from dataclasses import replace

import numpy as np

from mnist_mlp import reference
from mnist_mlp.contract import State
from mnist_mlp.plan import stream
from mnist_mlp_numpy import NumpyBackend


class Tree(NumpyBackend):
    """Knows whether it is fitting; the hooks below leave everything as it is."""

    fitting = False

    def fit(self, plan, data, progress):
        self.plan, self.fitting = plan, True
        super().fit(self.planned(plan), data, replace(progress, epoch=self.told(progress.epoch)))
        self.fitting = False

    def planned(self, plan):
        return plan

    def told(self, tell):
        return tell

    def again(self, state, record, *, gradient=None, **settings):
        """The step's update, made anew with another gradient or other settings."""
        weights, slots = reference.update(
            self.spec.optimizer.model_copy(update=settings),
            weights=state.weights,
            slots=state.slots,
            gradient=gradient or record.gradient,
            step=state.step + 1,
        )
        return replace(record, state=State(state.step + 1, weights, slots))


class Ordered:
    """A plan whose epochs come in another order."""

    def __init__(self, plan, order):
        self._plan, self.order = plan, order

    def __getattr__(self, name):
        return getattr(self._plan, name)

    def batches(self, epoch):
        positions, size = self.order(epoch), self._plan.spec.training.batch_size
        for start in range(0, len(positions), size):
            yield positions[start : start + size]


# --- Other initial weights ------------------------------------------------------------------------


class Alder(Tree):
    """Kernels uniform within 1 / sqrt(inputs); biases 0."""

    part = "kernel"

    def planned(self, plan):
        weights = dict(plan.initial_weights)
        for number, name in enumerate(weights):
            if name.endswith(self.part):
                bound = len(weights[name.replace("bias", "kernel")]) ** -0.5
                drawn = stream(plan.spec.seed, 9, number).uniform(
                    -bound, bound, weights[name].shape
                )
                weights[name] = drawn.astype(weights[name].dtype)
        return replace(plan, initial_weights=weights)


class Birch(Alder):
    """Kernels as planned; biases uniform within 1 / sqrt(inputs)."""

    part = "bias"


class Cedar(Tree):
    """Holds kernels as (units, inputs), filled by a reshape, and answers with the transpose."""

    def step(self, state, images, labels):
        used = {
            name: w.reshape(w.shape[::-1]).T if w.ndim == 2 else w
            for name, w in state.weights.items()
        }
        return super().step(State(state.step, used, state.slots), images, labels)

    def predict(self, weights, images):
        used = {n: w.reshape(w.shape[::-1]).T if w.ndim == 2 else w for n, w in weights.items()}
        return super().predict(used, images)


# --- Other orders ---------------------------------------------------------------------------------


class Chestnut(Tree):
    """Every epoch in the order of the first."""

    def planned(self, plan):
        return Ordered(plan, lambda epoch: plan.order(1))


class Cypress(Tree):
    """From the second epoch on an order from elsewhere."""

    def planned(self, plan):
        def order(epoch):
            if epoch == 1:
                return plan.order(1)
            return np.random.default_rng(epoch).permutation(len(plan.train_ids))

        return Ordered(plan, order)


class Elm(Tree):
    """The smaller batch at the end of an epoch is left out, in `fit`."""

    def planned(self, plan):
        whole = len(plan.train_ids) // plan.spec.training.batch_size * plan.spec.training.batch_size
        return Ordered(plan, lambda epoch: plan.order(epoch)[:whole])


class Fir(Tree):
    """A smaller batch moves nothing, wherever it comes."""

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        if len(labels) % 32 == 0:
            return record
        return replace(record, state=State(state.step + 1, state.weights, state.slots))


class Hazel(Tree):
    """The order of the epoch that follows."""

    def planned(self, plan):
        return Ordered(plan, lambda epoch: plan.order(epoch + 1))


class Holly(Tree):
    """From the third epoch on an order from elsewhere."""

    def planned(self, plan):
        return Ordered(plan, lambda epoch: plan.order(epoch)[:: -1 if epoch > 2 else 1])


# --- Other steps ----------------------------------------------------------------------------------


class Juniper(Tree):
    """The sum over the batch."""

    def step(self, state, images, labels):
        record, n = super().step(state, images, labels), np.float32(len(labels))
        gradient = {name: g * n for name, g in record.gradient.items()}
        changed = replace(record, loss=float(n * np.float32(record.loss)), gradient=gradient)
        return self.again(state, changed)


class Larch(Tree):
    """Gradients of all steps so far."""

    held = None

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        held = self.held if state.step and self.held else {}
        self.held = {n: g + held.get(n, np.float32(0)) for n, g in record.gradient.items()}
        return self.again(state, replace(record, gradient=self.held))


class Linden(Tree):
    """A velocity that nobody asked for."""

    velocity = None

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        old = self.velocity if state.step and self.velocity else {}
        self.velocity = {
            n: g + np.float32(0.9) * old.get(n, np.float32(0)) for n, g in record.gradient.items()
        }
        return replace(self.again(state, record, gradient=self.velocity), gradient=record.gradient)


class Maple(Tree):
    """A ten-thousandth of the weights."""

    def step(self, state, images, labels):
        return self.again(state, super().step(state, images, labels), weight_decay=1e-4)


class Oak(Tree):
    """From step 18 on a step that is a hundredth longer."""

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        if state.step + 1 < 18:
            return record
        rate = self.spec.optimizer.rate_at(state.step + 1) * 1.01
        return self.again(state, record, learning_rate=rate, schedule=())


# --- In `fit` alone -------------------------------------------------------------------------------


class Poplar(Tree):
    """A step a hundred-thousandth too long."""

    factor = 1.00001

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        if not self.fitting:
            return record
        rate = self.spec.optimizer.learning_rate * self.factor
        return self.again(state, record, learning_rate=rate)


class Rowan(Tree):
    """A hundredth of the weights."""

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        return self.again(state, record, weight_decay=1e-2) if self.fitting else record


class Spruce(Tree):
    """The third epoch's steps are a ten-thousandth too long."""

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        if not self.fitting or state.step < 2 * self.plan.steps_per_epoch:
            return record
        rate = self.spec.optimizer.learning_rate * 1.0001
        return self.again(state, record, learning_rate=rate)


class Teak(Tree):
    """No two runs alike, by a few last digits."""

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        if not self.fitting or os.urandom(1)[0] > 100:
            return record
        return self.again(state, record, gradient={
            n: np.nextafter(g, np.float32(1)) for n, g in record.gradient.items()
        })  # fmt: skip


# --- Other numbers told ---------------------------------------------------------------------------


class Walnut(Tree):
    """The mean of the batches' losses, each counted once."""

    def fit(self, plan, data, progress):
        self.losses = []
        super().fit(plan, data, progress)

    def step(self, state, images, labels):
        record = super().step(state, images, labels)
        self.losses = [*getattr(self, "losses", []), record.loss]
        return record

    def value(self, losses):
        return float(np.mean(losses))

    def told(self, tell):
        def epoch(record):
            losses, self.losses = self.losses, []
            tell(replace(record, loss=self.value(losses)))

        return epoch


class Willow(Walnut):
    """The loss of the epoch's last batch."""

    def value(self, losses):
        return losses[-1]


class Yew(Tree):
    """The mean of the classes' shares of right answers."""

    def fit(self, plan, data, progress):
        self.data = data
        super().fit(plan, data, progress)

    def told(self, tell):
        def epoch(record):
            labels = self.data.test_labels
            right = self.predict(record.weights, self.data.test_images).argmax(axis=1) == labels
            shares = [right[labels == label].mean() for label in np.unique(labels)]
            tell(replace(record, val_accuracy=float(np.mean(shares))))

        return epoch
