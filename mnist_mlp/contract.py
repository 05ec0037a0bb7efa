"""What a backend is: the one file that the author of a backend reads.

A backend is a class, registered under the entry-point group `mnist_mlp.backends`
(`[project.entry-points."mnist_mlp.backends"]`, `jax = "my_package:JaxBackend"`) or named on the
command line as `my_package:JaxBackend`. It does arithmetic and nothing else: it draws no random
number, reads no file and prints nothing. It lives in a process of its own (`mnist_mlp.worker`), so
it may import and configure its framework as it likes, but only from `open` on: its module has to be
importable where the framework is missing, so that `backends` can say what to install.

Arrays cross the border as NumPy, weights by canonical name: per layer a kernel `(inputs, units)`
and a bias `(units,)`, called `layers.0.kernel`, `layers.0.bias`, `layers.1.kernel`, ... The
mathematics is written down in `mnist_mlp.reference`; `tests/conformance` checks a backend against
it by itself, as soon as the backend is registered.

`Backend` is what every backend has. Two methods are optional, and a user is told in words where one
is missing: `export` (see `Exporter`), and `open_port`, with which a backend runs a user's own model
(see `mnist_mlp.ports.protocol`):

    def open_port(self, target: str, runtime: Runtime) -> PortHost
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.plan import Plan, TrainingData, steps_per_call
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.spec import ACTIVATIONS, Spec, activation_parts

__all__ = [
    "Array",
    "Backend",
    "Capabilities",
    "Environment",
    "EpochRecord",
    "Exporter",
    "Fallback",
    "FitPath",
    "Plan",
    "Progress",
    "Runtime",
    "Spec",
    "State",
    "StepRecord",
    "Tensors",
    "TrainingData",
    "activation_parts",
    "steps_per_call",
]


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do. Whatever is not listed is refused in words before a run starts.

    `deviations` tells the conformance suite of a known difference, in words a user will read.
    """

    accelerators: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("float32", "float64")
    activations: tuple[str, ...] = (*ACTIVATIONS, "leaky_relu")
    optimizers: tuple[str, ...] = ("sgd", "adam")
    momentum: bool = True
    nesterov: bool = True
    weight_decay: bool = True
    clip_norm: bool = True
    schedule: bool = True
    fast_path: bool = False
    """Whether `Runtime.fit_path` makes a difference; `fit` then answers with `steps_per_call`,
    counted by the framework: more than 1 on the fast path, 1 on the plain one."""

    def refusals(self, spec: Spec) -> list[str]:
        """What of a specification is not supported, a phrase each."""
        optimizer = spec.optimizer
        missing = [
            f"activation {name}"
            for name in dict.fromkeys(spec.model.activations[:-1])
            if activation_parts(name)[0] not in self.activations
        ]
        if spec.training.precision not in self.precisions:
            missing.append(f"precision {spec.training.precision}")
        if optimizer.name not in self.optimizers:
            missing.append(f"optimizer {optimizer.name}")
        for feature in ("momentum", "nesterov", "weight_decay", "clip_norm", "schedule"):
            if getattr(optimizer, feature) and not getattr(self, feature):
                missing.append(feature)
        return missing


@dataclass(frozen=True)
class Environment:
    """What a backend found: versions by distribution name, and the GPUs it can use, by name.

    `gpu_install` is the command that makes a GPU visible to the framework, where it sees none.
    """

    versions: Mapping[str, str]
    gpus: tuple[str, ...] = ()
    gpu_install: str = ""


FitPath = Literal["fast", "plain"]
"""The way of `fit`: `fast`, many steps per call of the framework, or `plain`, a call per step."""


@dataclass(frozen=True)
class Runtime:
    """How to run: the device, already decided, the number of CPU threads, and the way of `fit`.

    `fit_path` is `fast` (many steps per call of the framework) or `plain` (the way a textbook has
    it, a call per step). Both train the same; a backend that has one way only ignores it.
    """

    accelerator: str = "cpu"
    threads: int = 1
    fit_path: FitPath = "fast"

    @property
    def path(self) -> FitPath:
        """`fit_path`, by the name that it had first; backends may go on to read it."""
        return self.fit_path


@dataclass(frozen=True, eq=False)
class EpochRecord:
    """What one epoch left behind.

    `loss` and `accuracy` are means over the training rows of the values seen while training, before
    each update; `val_loss` and `val_accuracy` are taken over the test rows after the epoch.
    `weights` are those after the epoch, `seconds` the wall clock of training and validation.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    weights: Tensors


@dataclass(frozen=True, eq=False)
class State:
    """Where training stands after `step` updates.

    `slots` holds the optimizer's memory in canonical form, zeros at the start: `velocity` for SGD
    with momentum, `first_moment` and `second_moment` for Adam (see `reference.update`).
    """

    step: int
    weights: Tensors
    slots: Mapping[str, Tensors] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One training step, stage by stage, as the backend computed it.

    `inputs` (n, inputs) are the pixels after scaling; `pre_activations` one array (n, units) a
    layer, the last being the logits; `activations` one a hidden layer; `loss` the mean over the
    batch; `gradient` by tensor name, before any clipping; `state` what the update made of it.
    """

    inputs: Array
    pre_activations: tuple[Array, ...]
    activations: tuple[Array, ...]
    loss: float
    gradient: Tensors
    state: State


@dataclass(frozen=True)
class Fallback:
    """Why the fast path does without what makes it fast, in words a user will read.

    `failed` tells a failure here from what is never done: a user who asked for the fast path by
    hand gets an error in its place.
    """

    reason: str
    failed: bool


@dataclass(frozen=True, eq=False)
class Progress:
    """What a backend reports while it trains: `step(n)` within an epoch (may be rare), `epoch`,
    and `fallback`, where the fast path is not what it should be."""

    epoch: Callable[[EpochRecord], None]
    step: Callable[[int], None] = lambda _: None
    fallback: Callable[[Fallback], None] = lambda _: None


class Backend(Protocol):
    """One framework. The methods are called in this order: `open`, then any of the others."""

    capabilities: ClassVar[Capabilities]
    packages: ClassVar[tuple[str, ...]]
    """Import names of what it needs (`("torch", "lightning")`): looked for before it is made."""
    install: ClassVar[str]
    """The command that installs them."""

    def environment(self) -> Environment:
        """Versions and devices. May import the framework."""
        ...

    def open(self, spec: Spec, runtime: Runtime) -> Mapping[str, Any]:
        """Prepare the framework and build the model; answers with the flags worth recording."""
        ...

    def fit(self, plan: Plan, data: TrainingData, progress: Progress) -> Mapping[str, Any] | None:
        """Train from `plan.initial_weights` in `plan.order`, reporting every epoch.

        May answer with what is worth recording and was seen while training: how many steps a call
        of the framework made, whether they were compiled.
        """
        ...

    def step(
        self, state: State, images: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> StepRecord:
        """Do one training step from a given state, keeping every stage."""
        ...

    def predict(self, weights: Tensors, images: NDArray[np.uint8]) -> Array:
        """Logits `(n, classes)` of images `(n, inputs)`, in the precision of the specification."""
        ...


class Exporter(Protocol):
    """Optional: a backend that writes a network in its framework's own formats."""

    def export(self, weights: Tensors, kind: str, folder: str) -> list[str]:
        """Write the opened network with given weights; answers with the files' names in `folder`.

        `kind` is the framework's own format (`keras`, `torch`) or `onnx`; the first file is the one
        that is loaded again and checked. Called after `open`.
        """
        ...
