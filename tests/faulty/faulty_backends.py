"""Backends that go wrong, each in its own way; named on the command line as `module:Class`."""

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mnist_mlp.plan import stream
from mnist_mlp_numpy import NumpyBackend


class Thing:
    """A type of the backend's own, as a framework's tensor would be."""


class KilledBackend(NumpyBackend):
    """As the kernel does it when memory runs out."""

    def fit(self, plan, data, progress):
        os.kill(os.getpid(), signal.SIGKILL)


class ExitingBackend(NumpyBackend):
    def fit(self, plan, data, progress):
        print("first words")
        print("last words")
        os._exit(7)


class AbortingBackend(NumpyBackend):
    """As a framework's C++ does it, in the middle of a run."""

    def fit(self, plan, data, progress):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        first = replace(plan, spec=plan.spec.model_copy(update={"training": _one_epoch(plan)}))
        self.spec = first.spec
        super().fit(first, data, progress)
        os.abort()


class FlakyBackend(AbortingBackend):
    """Dies in its first fit with a seed, after an epoch; a file in the working folder tells."""

    def fit(self, plan, data, progress, *, start=None):
        mark = Path(f"died-{plan.spec.seed}")
        if mark.exists():
            return NumpyBackend.fit(self, plan, data, progress, start=start)
        mark.touch()
        return super().fit(plan, data, progress)


class RaisingBackend(NumpyBackend):
    def fit(self, plan, data, progress):
        raise LookupError("no kernel for this device\nsecond line")


class SilentlyRaisingBackend(NumpyBackend):
    def environment(self):
        raise AssertionError


class ChattyBackend(NumpyBackend):
    """Prints in every way there is, and asks for input."""

    def fit(self, plan, data, progress):
        print("printed", "x" * 100_000)
        os.write(1, b"written to the descriptor\n")
        subprocess.run(["echo", "from a child"], check=True)
        assert sys.stdin.read() == ""
        super().fit(plan, data, progress)


class SlowBackend(NumpyBackend):
    """A quarter of a second after each epoch."""

    def fit(self, plan, data, progress, **options):
        def epoch(record):
            told = progress.epoch(record)
            time.sleep(0.25)
            return told

        super().fit(plan, data, replace(progress, epoch=epoch), **options)


class DeafBackend(NumpyBackend):
    """Busy for a minute, in a process whose id stands in `deaf.pid` of the working folder."""

    def open(self, spec, runtime):
        Path("deaf.pid").write_text(str(os.getpid()))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            np.ones((300, 300)) @ np.ones((300, 300))
        return {}


class ParentBackend(NumpyBackend):
    """Starts a process of its own, as a DataLoader with workers does; its id is in `child.pid`."""

    def open(self, spec, runtime):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path("child.pid").write_text(str(child.pid))
        return super().open(spec, runtime)


class MissingBackend(NumpyBackend):
    packages = ("numpy", "no_such_framework", "nor_this_one")
    install = "pip install no-such-framework"


class IncompleteBackend:
    capabilities = NumpyBackend.capabilities
    packages = ()
    install = ""

    def environment(self):
        return None


class OwnTypesBackend(NumpyBackend):
    """Answers with a type that only its own process knows."""

    def predict(self, weights, images):
        return Thing()


class OddFlagsBackend(NumpyBackend):
    """Answers `open` with something that no JSON can hold."""

    def open(self, spec, runtime):
        super().open(spec, runtime)
        return {"dtype": np.float32(1.5)}


class EnvironmentBackend(NumpyBackend):
    """Tells what it was started with."""

    def open(self, spec, runtime):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        return {name: os.environ.get(name) for name in names} | {"threads": runtime.threads}


class TorchDefaultsBackend(NumpyBackend):
    """A port that keeps PyTorch's own initial weights: uniform within 1 / sqrt(inputs)."""

    def fit(self, plan, data, progress):
        weights = {}
        for number, (name, tensor) in enumerate(plan.initial_weights.items()):
            bound = plan.initial_weights[name.replace("bias", "kernel")].shape[0] ** -0.5
            draw = stream(plan.spec.seed, 9, number).uniform(-bound, bound, tensor.shape)
            weights[name] = draw.astype(tensor.dtype)
        super().fit(replace(plan, initial_weights=weights), data, progress)


def _one_epoch(plan):
    return plan.spec.training.model_copy(update={"epochs": 1})


class DivergingBackend(NumpyBackend):
    """Reports a loss that is not a number in its third epoch."""

    def fit(self, plan, data, progress, **options):
        def epoch(record):
            return progress.epoch(replace(record, loss=np.nan) if record.epoch == 3 else record)

        return super().fit(plan, data, replace(progress, epoch=epoch), **options)


class NoStartBackend(NumpyBackend):
    """Reports the optimizer's state, but does not start from one."""

    capabilities = replace(NumpyBackend.capabilities, resume=False)


class SilentBackend(NumpyBackend):
    """Trains, and reports nothing."""

    def fit(self, plan, data, progress):
        super().fit(plan, data, replace(progress, epoch=lambda _: None))
