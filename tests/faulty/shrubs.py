"""Backends for comparisons that nothing is wrong with, or nearly nothing."""

from dataclasses import replace

import numpy as np

from mnist_mlp.contract import Capabilities
from mnist_mlp_numpy import NumpyBackend


class Elder(NumpyBackend):
    """The reference's formulas with the rows of a batch, and so all sums, the other way round."""

    def step(self, state, images, labels):
        record = super().step(state, images[::-1], labels[::-1])
        return replace(
            record,
            inputs=record.inputs[::-1],
            pre_activations=tuple(z[::-1] for z in record.pre_activations),
            activations=tuple(a[::-1] for a in record.activations),
        )


class Gorse(Elder):
    """float32 alone."""

    capabilities = Capabilities(precisions=("float32",))


class Heather(NumpyBackend):
    """In float64 a millionth off, which float32 does not see."""

    def fit(self, plan, data, progress):
        if plan.spec.training.precision == "float64":
            tell = progress.epoch

            def epoch(record):
                weights = {n: w * (1 + 1e-6) for n, w in record.weights.items()}
                tell(replace(record, weights=weights))

            progress = replace(progress, epoch=epoch)
        super().fit(plan, data, progress)


class Privet(NumpyBackend):
    """Computes in float64 what is asked for in float32, and rounds at the end of each stage."""

    def step(self, state, images, labels):
        self.dtype = np.dtype("float64")
        record = super().step(state, images, labels)
        self.dtype = np.dtype("float32")
        return record


class Rose(NumpyBackend):
    """Needs a package that is nowhere."""

    packages = ("no_such_framework",)
    install = "pip install no-such-framework"
