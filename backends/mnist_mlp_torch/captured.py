"""A training step on a GPU as a CUDA graph, captured once and replayed for every batch.

A step of a small network is some 25 kernels of a few microseconds each: launching them one by one
from Python takes longer than running them. The captured step reads nothing from Python: it takes
its batch from a buffer of positions, at a cursor that it moves on by itself.

A graph repeats addresses and numbers as they were when it was captured. So the tensors it works on
live as long as it does, and another learning rate needs another capture. Adam is not captured: its
bias correction is another number in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mnist_mlp_torch.fast import FastPerceptron, ResidentRows

_WARM_UP_STEPS = 3  # what PyTorch's notes on CUDA graphs ask for: lazy set-up must not be captured


def can_capture(module: FastPerceptron) -> bool:
    """Whether steps of this module are captured: SGD on a CUDA device."""
    return module.device.type == "cuda" and module.spec.optimizer.name == "sgd"


class CapturedSteps:
    """Runs whole batches by replaying one captured step.

    Parameters
    ----------
    module : FastPerceptron
        Trained in place, with its own optimizer.
    rows : ResidentRows
    batch_size : int
    most : int
        Largest number of batches of one `run`.
    """

    def __init__(
        self, module: FastPerceptron, rows: ResidentRows, *, batch_size: int, most: int
    ) -> None:
        self.module = module
        self.rows = rows
        self.optimizer: torch.optim.Optimizer = module.optimizers(use_pl_optimizer=False)
        self.rate: float | None = None
        self.graph: Any = None
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
                self._capture()
                self.rate = rate
            self.graph.replay()
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

    def _capture(self) -> None:
        """Capture the step, and leave everything as it was before the steps that warm up."""
        changed = [self.cursor, *self._trained()]
        saved = [tensor.detach().clone() for tensor in changed]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_STEPS):
                self.cursor.zero_()
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()
        with torch.no_grad():
            for tensor, before in zip(changed, saved, strict=True):
                tensor.copy_(before)

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
