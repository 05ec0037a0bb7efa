"""A training step on a GPU as a CUDA graph, captured once and replayed for every batch.

A step of a small network is some 25 kernels of a few microseconds each: launching them one by one
from Python takes longer than running them. The captured step reads nothing from Python: it takes
its batch from a buffer of positions, at a cursor that it moves on by itself.

A graph repeats addresses and numbers as they were when it was captured. So the tensors it works on
live as long as it does, and another learning rate needs another capture. Adam is not captured: its
bias correction is another number in every step.

What needs CUDA is `capture_graph` alone. Where it fails, the same step is made without a graph, its
kernels launched one by one. And where it is replaced by one that captures nothing, all the rest
runs on a CPU, which is how it is tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from mnist_mlp.contract import Spec

_WARM_UP_STEPS = 3  # what PyTorch's notes on CUDA graphs ask for: lazy set-up must not be captured


class Trainee(Protocol):
    """What a captured step needs of the module that it trains."""

    spec: Spec
    layers: nn.ModuleList
    device: torch.device

    def optimizers(self, *, use_pl_optimizer: bool) -> torch.optim.Optimizer:
        """The optimizer itself, not Lightning's wrapper."""
        ...

    def set_rate(self, optimizer: torch.optim.Optimizer) -> float:
        """Set the learning rate that the schedule gives the next step, and tell it."""
        ...

    def step(self, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """One training step: logits (n, classes) and loss of the batch before it."""
        ...

    def count_step(self) -> None:
        """Count an update."""
        ...


class RowSource(Protocol):
    """Where the rows of a batch come from."""

    def batch(self, positions: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Pixels (len(positions), inputs) in [0, 1], and labels."""
        ...


def why_not_captured(module: Trainee) -> str | None:
    """Why steps of this module on a CUDA device are not captured; None where they are."""
    if module.spec.optimizer.name == "sgd":
        return None
    return (
        "Adam's bias correction is another number in every step, so that its steps are not "
        "captured as a CUDA graph: their kernels are launched one by one"
    )


def can_capture(module: Trainee) -> bool:
    """Whether steps of this module are captured: SGD on a CUDA device."""
    return module.device.type == "cuda" and why_not_captured(module) is None


def capture_graph(step: Callable[[], None], *, warm_up: Callable[[], None]) -> Callable[[], None]:
    """Capture what `step` does on the GPU; answers with a function that does it again.

    `warm_up` runs before, on a stream beside the current one; capturing itself computes nothing.
    """
    current = torch.cuda.current_stream()
    side = torch.cuda.Stream()
    side.wait_stream(current)
    try:
        with torch.cuda.stream(side):
            warm_up()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    finally:
        # `torch.cuda.graph` stays on its own stream when ending the capture fails.
        torch.cuda.set_stream(current)
    replay: Callable[[], None] = graph.replay
    return replay


class CapturedSteps:
    """Runs whole batches by replaying one captured step.

    Parameters
    ----------
    module : Trainee
        Trained in place, with its own optimizer.
    rows : RowSource
    batch_size : int
    most : int
        Largest number of batches of one `run`.
    failed : callable
        Told why a capture failed, once; training then goes on without a graph.

    Attributes
    ----------
    failure : str or None
        Why a capture failed.
    """

    def __init__(
        self,
        module: Trainee,
        rows: RowSource,
        *,
        batch_size: int,
        most: int,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.module = module
        self.rows = rows
        self.failed = failed
        self.failure: str | None = None
        self.optimizer = module.optimizers(use_pl_optimizer=False)
        self.rate: float | None = None
        self._make_step = self.step
        weight = module.layers[0].weight
        self.dtype = weight.dtype
        integers = {"dtype": torch.int64, "device": weight.device}
        floats = {"dtype": weight.dtype, "device": weight.device}
        self.lanes = torch.arange(batch_size, **integers)
        self.cursor = torch.zeros(1, **integers)
        self.positions = torch.zeros(most * batch_size, **integers)
        self.losses = torch.zeros(most, **floats)
        self.logits = torch.zeros(most * batch_size, module.layers[-1].out_features, **floats)

    def run(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Train on whole batches; logits (n, classes) and losses (n / batch_size,).

        What is returned is overwritten by the next run.
        """
        n = len(positions)
        steps = n // len(self.lanes)
        self.positions[:n].copy_(positions)
        self.cursor.zero_()
        for _ in range(steps):
            rate = self.module.set_rate(self.optimizer)
            if rate != self.rate:
                self._make_step = self._captured()
                self.rate = rate
            self._make_step()
            self.module.count_step()
        return self.logits[:n], self.losses[:steps]

    def step(self) -> None:
        """The step that is captured: the batch at the cursor."""
        at = self.cursor * len(self.lanes) + self.lanes
        x, y = self.rows.batch(self.positions.index_select(0, at), dtype=self.dtype)
        logits, loss = self.module.step(self.optimizer, x, y)
        self.logits.index_copy_(0, at, logits)
        self.losses.index_copy_(0, self.cursor, loss.reshape(1))
        self.cursor += 1

    def _captured(self) -> Callable[[], None]:
        """Capture the step, and leave everything as it was before the steps that warm up.

        Where that fails, the step itself: everything it works on is here already.
        """
        if self.failure is not None:
            return self.step
        changed = [self.cursor, *self._trained()]
        saved = [tensor.detach().clone() for tensor in changed]

        def warm_up() -> None:
            for _ in range(_WARM_UP_STEPS):
                # At the batch that comes next: what the run has noted of earlier ones has to stay.
                self.cursor.copy_(saved[0])
                self.step()

        try:
            replay = capture_graph(self.step, warm_up=warm_up)
        except torch.OutOfMemoryError:
            raise  # the step alone, which has just been tried, does not fit
        except RuntimeError as error:
            # What ends the capture complains of it too; the first complaint is the reason.
            first = error.__context__ or error
            self.failure = (str(first).strip() or type(first).__name__).splitlines()[0]
            self.failed(self.failure)
            replay = self.step
        with torch.no_grad():
            for tensor, before in zip(changed, saved, strict=True):
                tensor.copy_(before)
        return replay

    def _trained(self) -> list[Tensor]:
        """Parameters and velocities; those are made here, lest the first step make them."""
        parameters = list(self.module.layers.parameters())
        if self.module.spec.optimizer.momentum == 0:
            return parameters
        velocities = []
        for parameter in parameters:
            state = self.optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            velocities.append(state["momentum_buffer"])
        return [*parameters, *velocities]
