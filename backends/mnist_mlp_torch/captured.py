"""A training step on a GPU as a CUDA graph, which is captured once and replayed for every batch.

A step of a small network has about 25 kernels of a few microseconds each. Launching them one by one
from Python takes longer than running them. The captured step reads nothing from Python: it takes
its batch from a buffer of positions, at a cursor that the step itself advances.

A graph repeats the memory addresses and the numbers of the time of its capture. So its tensors must
live as long as the graph, and another learning rate needs another capture. Adam is not captured,
because its bias correction is a different number in every step.

Only `capture_graph` needs CUDA. If it fails, the same step runs without a graph, and its kernels
are launched one by one. Tests replace it with a function that captures nothing, so that everything
else can be tested on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from mnist_mlp.contract import Spec

_WARM_UP_STEPS = 3  # as PyTorch's notes on CUDA graphs ask: lazy set-up must not be captured


class Trainee(Protocol):
    """What a captured step needs from the module that it trains."""

    spec: Spec
    layers: nn.ModuleList
    device: torch.device

    def optimizers(self, *, use_pl_optimizer: bool) -> torch.optim.Optimizer:
        """The optimizer itself, without Lightning's wrapper."""
        ...

    def set_rate(self, optimizer: torch.optim.Optimizer) -> float:
        """Set the learning rate of the next step by the schedule, and return it."""
        ...

    def step(self, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Train one step; returns logits (n, classes) and loss of the batch before the update."""
        ...

    def count_step(self) -> None:
        """Count one update."""
        ...


class RowSource(Protocol):
    """The source of the rows of a batch."""

    def batch(self, positions: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Pixels (len(positions), inputs) in [0, 1], and labels."""
        ...


def why_not_captured(module: Trainee) -> str | None:
    """Why the steps of this module cannot be captured on a CUDA device; None if they can."""
    if module.spec.optimizer.name == "sgd":
        return None
    return (
        "steps of Adam are not captured as a CUDA graph, since its bias correction changes in "
        "every step: their kernels are launched one by one, which is slower"
    )


def can_capture(module: Trainee) -> bool:
    """Whether the steps of this module are captured, which is so for SGD on a CUDA device."""
    return module.device.type == "cuda" and why_not_captured(module) is None


def capture_graph(step: Callable[[], None], *, warm_up: Callable[[], None]) -> Callable[[], None]:
    """Capture the work of `step` on the GPU; returns a function that repeats it.

    `warm_up` runs first, on another stream than the current one. The capture itself computes
    nothing.
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
        # If the end of a capture fails, `torch.cuda.graph` leaves its own stream as current.
        torch.cuda.set_stream(current)
    replay: Callable[[], None] = graph.replay
    return replay


class CapturedSteps:
    """Trains on whole batches by replaying one captured step.

    Parameters
    ----------
    module : Trainee
        It is trained in place, with its own optimizer.
    rows : RowSource
    batch_size : int
    most : int
        Largest number of batches in one `run`.
    failed : callable
        Called once with the reason if a capture fails; training then continues without a graph.

    Attributes
    ----------
    failure : str or None
        Why a capture failed; None if none has failed.
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
        """Train on whole batches; returns logits (n, classes) and losses (n / batch_size,).

        The next run overwrites these tensors.
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
        """The step that is captured: train on the batch at the cursor."""
        at = self.cursor * len(self.lanes) + self.lanes
        x, y = self.rows.batch(self.positions.index_select(0, at), dtype=self.dtype)
        logits, loss = self.module.step(self.optimizer, x, y)
        self.logits.index_copy_(0, at, logits)
        self.losses.index_copy_(0, self.cursor, loss.reshape(1))
        self.cursor += 1

    def _captured(self) -> Callable[[], None]:
        """Capture the step, and undo what the warm-up steps changed; returns the replay.

        If the capture fails, the step itself is returned, which uses the same tensors.
        """
        if self.failure is not None:
            return self.step
        changed = [self.cursor, *self._trained()]
        saved = [tensor.detach().clone() for tensor in changed]

        def warm_up() -> None:
            for _ in range(_WARM_UP_STEPS):
                # Always at the next batch: the results of earlier batches must not be overwritten.
                self.cursor.copy_(saved[0])
                self.step()

        try:
            replay = capture_graph(self.step, warm_up=warm_up)
        except torch.OutOfMemoryError:
            raise  # the warm-up ran the plain step, and it does not fit into the memory
        except RuntimeError as error:
            # Ending a failed capture raises an error too. The first error is the reason.
            first = error.__context__ or error
            self.failure = (str(first).strip() or type(first).__name__).splitlines()[0]
            self.failed(self.failure)
            replay = self.step
        with torch.no_grad():
            for tensor, before in zip(changed, saved, strict=True):
                tensor.copy_(before)
        return replay

    def _trained(self) -> list[Tensor]:
        """Parameters and velocities.

        Missing velocities are created here, since the graph must not create them in its first step.
        """
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
