"""The backend interface: the only file that the author of a backend has to read.

A backend is a class. Register it under the entry-point group `mnist_mlp.backends`
(`[project.entry-points."mnist_mlp.backends"]`, `jax = "my_package:JaxBackend"`), or name it on the
command line as `my_package:JaxBackend`. It only computes: it draws no random numbers, reads no
files and prints nothing. It runs in its own process (`mnist_mlp.worker`), so it may import and
configure its framework as it likes, but not before `open`. Importing its module must work even
where the framework is not installed, so that the `backends` command can say what to install.

Arrays are passed as NumPy arrays, and weights by canonical name. Each layer has a kernel
`(inputs, units)` and a bias `(units,)`: `layers.0.kernel`, `layers.0.bias`, `layers.1.kernel`, ...
`mnist_mlp.reference` defines the mathematics. `tests/conformance` finds every registered backend
and checks it against that definition.

Every backend has the methods of `Backend`. Five more abilities are optional: to go on with an
interrupted run (see `Resumable`), to train on several devices (see `Devices`), `export` (see
`Exporter`), `draw` (see `Drawing`), and `open_port`, which runs a user's own model (see
`mnist_mlp.ports.protocol`). If one is missing, a user who asks for it gets an error that says so:

    def open_port(self, target: str, runtime: Runtime) -> PortHost
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.plan import Plan, TrainingData, share, steps_per_call
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.spec import ACTIVATIONS, Spec, activation_parts

__all__ = [
    "Array",
    "Backend",
    "Capabilities",
    "Devices",
    "Drawing",
    "Draws",
    "Environment",
    "EpochRecord",
    "Exporter",
    "Fallback",
    "FitPath",
    "Plan",
    "Progress",
    "Resumable",
    "Runtime",
    "Spec",
    "State",
    "StepRecord",
    "Tensors",
    "TrainingData",
    "activation_parts",
    "share",
    "steps_per_call",
]


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do. A run that needs anything else is refused before it starts."""

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
    """Whether `Runtime.fit_path` makes a difference. If so, the flags that `fit` returns include
    `steps_per_call`, counted by the framework: more than 1 on the fast path, 1 on the plain one."""
    resume: bool = False
    """Whether `fit` can start from a later state: see `Resumable`."""
    devices: bool = False
    """Whether several devices can train one run: see `Devices`."""

    def refusals(self, spec: Spec) -> list[str]:
        """List the parts of a specification that are not supported, one phrase each."""
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
    """What a backend found: versions by distribution name, and the names of the GPUs it can use.

    `gpu_install` is the command that makes a GPU visible to the framework, in case it sees none.
    """

    versions: Mapping[str, str]
    gpus: tuple[str, ...] = ()
    gpu_install: str = ""


FitPath = Literal["fast", "plain"]
"""How `fit` runs: `fast` makes many steps per framework call, `plain` makes one."""


@dataclass(frozen=True)
class Devices:
    """The devices that train one run: `count` on each of `nodes` machines.

    Each device has a process of its own with a copy of the network, called a *rank*. The batch of
    the specification is shared among the ranks (`share`), and its loss and gradient are means over
    all its rows. So the number of devices changes nothing but roundings. `step` and `predict` use
    one device.

    `strategy` is `ddp` (distributed data parallel), or `auto`: `ddp` if there are several devices.
    """

    count: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"

    @property
    def ranks(self) -> int:
        """Number of processes that train."""
        return self.count * self.nodes

    @property
    def shared(self) -> bool:
        """Whether batches are shared among ranks. With `ddp`, one rank does it alone."""
        return self.ranks > 1 or self.strategy == "ddp"


@dataclass(frozen=True)
class Runtime:
    """How to run: the kind of device (already decided), CPU threads, how `fit` runs, and where.

    `fit_path` is `fast` (many steps per framework call) or `plain` (one step per call, as in a
    textbook). Both give the same training. A backend with only one way ignores it. `threads` is the
    number for each process. Where `devices.shared`, `fit_path` is `plain`.
    """

    accelerator: str = "cpu"
    threads: int = 1
    fit_path: FitPath = "fast"
    devices: Devices = Devices()

    @property
    def path(self) -> FitPath:
        """The former name of `fit_path`, kept for backends that still read it."""
        return self.fit_path


@dataclass(frozen=True, eq=False)
class EpochRecord:
    """Metrics and weights of one epoch.

    `loss` and `accuracy` are means over the training rows, of the values computed during training,
    before each update. `val_loss` and `val_accuracy` are computed over the test rows after the
    epoch. `weights` are the weights after the epoch; `seconds` is the wall-clock time of training
    and validation. `slots` is the optimizer's state after the epoch, as in `State`. A backend that
    does not report it leaves it out. Its runs cannot be resumed.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    weights: Tensors
    slots: Mapping[str, Tensors] | None = None


@dataclass(frozen=True, eq=False)
class State:
    """The state of training after `step` updates.

    `slots` holds the optimizer state by canonical name: `velocity` for SGD with momentum,
    `first_moment` and `second_moment` for Adam (see `reference.update`). All start as zeros.
    """

    step: int
    weights: Tensors
    slots: Mapping[str, Tensors] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One training step, stage by stage, as the backend computed it.

    `inputs` (n, inputs) are the scaled pixels. `pre_activations` holds one array (n, units) per
    layer; the last one is the logits. `activations` holds one array (n, units) per hidden layer.
    `loss` is the mean over the batch. `gradient` holds the gradients by tensor name, before any
    clipping. `state` is the state after the update.
    """

    inputs: Array
    pre_activations: tuple[Array, ...]
    activations: tuple[Array, ...]
    loss: float
    gradient: Tensors
    state: State


@dataclass(frozen=True)
class Fallback:
    """Why training goes on without the fast path.

    `reason` is shown to the user. `failed` is true if the fast path should work here but did not,
    and false if this kind of run never uses it. After a failure, a user who gave `--fast`
    explicitly gets an error instead.
    """

    reason: str
    failed: bool


@dataclass(frozen=True, eq=False)
class Progress:
    """Callbacks for a backend that trains.

    `step(n)` reports `n` finished steps of the run, as often as the backend likes. `epoch` reports
    each epoch, and returns true if training has to stop after it (`mnist_mlp.stopping`). A backend
    that trains on loses nothing but time: the further epochs are ignored. `fallback` reports that
    training goes on without the fast path.
    """

    epoch: Callable[[EpochRecord], bool | None]
    step: Callable[[int], None] = lambda _: None
    fallback: Callable[[Fallback], None] = lambda _: None


class Backend(Protocol):
    """One framework. `environment` may be called at any time; `open` comes before the others."""

    capabilities: ClassVar[Capabilities]
    packages: ClassVar[tuple[str, ...]]
    """Import names of the packages it needs, such as `("torch", "lightning")`. They are looked for
    before an instance is made."""
    install: ClassVar[str]
    """The command that installs them."""

    def environment(self) -> Environment:
        """Return versions and devices. May import the framework."""
        ...

    def open(self, spec: Spec, runtime: Runtime) -> Mapping[str, Any]:
        """Prepare the framework and build the model; return flags for `run.json` (JSON values)."""
        ...

    def fit(self, plan: Plan, data: TrainingData, progress: Progress) -> Mapping[str, Any] | None:
        """Train from `plan.initial_weights` in the order of `plan.order`; report every epoch.

        May return more flags for `run.json` (JSON values) that are only known after training: how
        many steps one framework call made, whether they were compiled.

        Once all images are copied to the framework, `data.release()` lets a worker's memory go.
        """
        ...

    def step(
        self, state: State, images: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> StepRecord:
        """Do one training step from a given state and record every stage."""
        ...

    def predict(self, weights: Tensors, images: NDArray[np.uint8]) -> Array:
        """Return logits `(n, classes)` of images `(n, inputs)`, in the precision of the run."""
        ...


class Resumable(Backend, Protocol):
    """Optional: a backend that can go on from the state after a whole epoch.

    Its `Capabilities.resume` is true, each `EpochRecord` has `slots`, and `fit` takes `start`.
    Training k epochs and then the rest must give the same bits as training all epochs at once.
    """

    def fit(
        self, plan: Plan, data: TrainingData, progress: Progress, *, start: State | None = None
    ) -> Mapping[str, Any] | None:
        """As `Backend.fit`. With `start`, train only the epochs after this state.

        `start.step` is a multiple of `plan.steps_per_epoch`, and at least one epoch is left. Epochs
        and steps are reported by their numbers in the whole run.
        """
        ...


@dataclass(frozen=True, eq=False)
class Draws:
    """What a framework drew itself: initial weights by canonical name, in the precision of the run,
    and the order of every epoch, int64 (epochs, n_train): positions of the training rows."""

    weights: Tensors
    orders: Array


class Drawing(Backend, Protocol):
    """Optional: a backend whose framework can draw initial weights and order itself."""

    def draw(self, plan: Plan) -> Draws:
        """Draw as the framework does by default, from the seed `plan.spec.seed`.

        The weights are those of its own initialisers in a new model, and the orders are those in
        which its own loop would visit the rows. The same seed gives the same draws, and the orders
        of fewer epochs are the first of those of more. Called after `open`.
        """
        ...


class Exporter(Protocol):
    """Optional: a backend that can write a network in its framework's file formats."""

    def export(self, weights: Tensors, kind: str, folder: str) -> list[str]:
        """Write the opened network with the given weights; return the files' names in `folder`.

        `kind` is the framework's own format (`keras`, `torch`) or `onnx`. The first file is the one
        that is reloaded and checked. Called after `open`.
        """
        ...
