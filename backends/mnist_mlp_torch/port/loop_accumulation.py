"""What a training loop that accumulates gradients does with the last batches of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_mlp.ports.driving import Batch
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp_torch.port.loop import Loop
from mnist_mlp_torch.port.loop_drive import Drive

ALIKE = 1e-5
"""Relative difference of losses of one batch at the same weights, in float32."""


class RestProbe:
    """Runs a loop for an epoch of as many batches as its own, and up to the update after it.

    All rows are the same, and the weights are put back after each update: then the losses that
    backward begins with tell by what they are divided.
    """

    def __init__(self, loop: Loop, batches: Sequence[Batch]) -> None:
        self.parts, self.batches = loop.accumulated, len(batches)
        self._drive = Drive(
            loop,
            [batches] * 2,
            on_step=self._step,
            on_gradients=lambda: None,
            on_end=lambda: None,
        )
        self._drive.keeps_length = True
        self._module: Any = None
        self._start: dict[str, Tensor] = {}
        self._losses: list[float] = []
        self._cleared: list[bool] = []
        self._updates: list[int] = []
        """After how many backward passes each update is made."""
        self._known = True

    @contextmanager
    def watching(self, catch: Catch) -> Iterator[None]:
        """While this lasts; the script's `catch` is for its end."""
        backward = self._backward(Tensor.backward)
        with self._drive.watching(catch), patched(Tensor, backward=backward):
            yield

    def _step(self, module: Any, optimizers: list[Any]) -> None:
        # Of a loop in another file it is not seen where an epoch ends.
        self._known &= bool(self._drive.catch.loops)
        if self._module is not None:
            return
        self._module = module
        self._start = {name: value.clone() for name, value in module.state_dict().items()}
        optimizers[0].register_step_post_hook(lambda *_: self._updated())

    def _backward(self, own: Callable[..., None]) -> Callable[..., None]:
        def backward(loss: Tensor, *args: Any, **options: Any) -> None:
            if self._module is not None:
                gradients = [p.grad for p in self._module.parameters() if p.grad is not None]
                self._cleared.append(not any(bool(g.to_dense().any()) for g in gradients))
                self._losses.append(float(loss.detach().sum()))
            own(loss, *args, **options)

        return backward

    def _updated(self) -> None:
        self._updates.append(len(self._losses))
        with torch.no_grad():
            self._module.load_state_dict(self._start)
        if len(self._losses) > self.batches:
            self._drive.over()

    @property
    def found(self) -> tuple[str, tuple[float, ...]]:
        """One of `mnist_mlp.ports.pair.REST`, or empty where it is something else, and what the
        loss of each of the last batches counts in an update."""
        n, k = self.batches, self.parts
        left = n % k
        losses, first = np.array(self._losses), [at for at in self._updates if at <= n]
        whole = list(range(k, n + 1, k))
        if not self._known or len(losses) < n or first not in (whole, [*whole, n]):
            return "", ()
        start = losses[:k]
        if np.ptp(start) > ALIKE * abs(start[0]) or not start[0]:
            return "", ()
        after = next((at for at in self._updates if at > n), None)
        name = self._name(left, after, made=first[-1:] == [n])
        last = losses[n - (left or k) : n] / start.sum()
        return name, tuple(last.tolist())

    def _name(self, left: int, after: int | None, *, made: bool) -> str:
        """Where an update is `made` after the last batch, and the next `after` so many."""
        n, k = self.batches, self.parts
        if made:
            return "update" if after in (None, n + k) and self._cleared[n - (left or k)] else ""
        if after is None:  # there is one epoch
            return "dropped" if len(self._losses) == n else ""
        if after == n + k:
            return "dropped" if self._cleared[n] else "added"
        return "later" if after == n + k - left and not self._cleared[n] else ""
