"""A user's own model in a backend's process, seen from the parent: calls that mirror `PortHost`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnist_mlp.contract import TrainingData
from mnist_mlp.plan import Plan
from mnist_mlp.ports.protocol import PortEpoch, PortFacts, PortJob, PortStep
from mnist_mlp.reference import Array, Tensors


def ignore(content: Any) -> None:
    """For calls that report nothing on the way."""
    del content


class PortCalls:
    """Part of `worker.Worker`: what it does with ports. `open_port` comes first."""

    accelerator: str
    threads: int

    def open_port(
        self, target: str, *, data: TrainingData, image_shape: tuple[int, ...]
    ) -> PortFacts:
        """Load `file.py:NAME` and describe it; `UserCodeError` where the user's code raises."""
        self._send("open_port", target, self.accelerator, self.threads, data, image_shape)
        facts: PortFacts = self._answer("open_port")
        return facts

    def fit_port(
        self,
        job: PortJob,
        *,
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        """One real training run of the port, recorded."""

        def tell(content: PortStep | PortEpoch) -> None:
            if isinstance(content, PortEpoch):
                on_epoch(content)
            else:
                on_step(content)

        self._send("fit_port", job)
        self._answer("fit_port", tell)

    def predict_port(self, weights: Tensors, images: Array) -> Array:
        """Logits of the port in evaluation mode."""
        self._send("predict_port", dict(weights), images)
        logits: Array = self._answer("predict_port")
        return logits

    def train_port(self, plan: Plan, data: TrainingData, *, seed: int, native: bool) -> float:
        """Accuracy on the test rows after free training."""
        self._send("train_port", plan, data, {"seed": seed, "native": native})
        accuracy: float = self._answer("train_port")
        return accuracy

    def _send(self, method: str, *arguments: Any) -> None:
        raise NotImplementedError

    def _answer(self, method: str, tell: Callable[[Any], None] = ignore) -> Any:
        raise NotImplementedError
