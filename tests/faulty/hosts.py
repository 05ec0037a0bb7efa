"""A backend that hosts a model of nobody's: every call is answered with what came in."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mnist_mlp.contract import Runtime, TrainingData
from mnist_mlp.ports.protocol import PortDescription, PortFacts
from mnist_mlp_numpy import NumpyBackend


class EchoHost:
    """A `PortHost` with one method more than the protocol has."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.description = PortDescription(framework=target, layers=())

    def open(self, *, data: TrainingData, image_shape: tuple[int, ...]) -> PortFacts:
        """Facts that hold what came in."""
        framework = f"{self.target} {image_shape} {data}"
        return PortFacts(framework=framework, layers=(), draws=(), optimizer={})

    def fit(
        self,
        job: Any,
        *,
        ask_state: Callable[[int], Any],
        on_step: Callable[[Any], None],
        on_epoch: Callable[[Any], None],
    ) -> None:
        """Tell of what came in and of what is answered, in turn."""
        on_epoch(("epoch", job.plan))
        for step in job.shared:
            on_step((step, ask_state(step)))

    def predict(self, weights: Any, images: Any) -> Any:
        """The images."""
        return images if weights else None

    def train(
        self,
        plan: Any,
        data: Any,
        *,
        seed: int,
        native: bool,
        on_epoch: Callable[[Any], None],
    ) -> float:
        """The seed, which is told too."""
        on_epoch({"loss": seed})
        return seed + 0.5 * native

    def added(self, number: int, *, by: int) -> int:
        """A call that the worker has never heard of."""
        return number + by


class EchoBackend(NumpyBackend):
    """NumPy's, with a host."""

    def open_port(self, target: str, runtime: Runtime) -> EchoHost:
        """A host that answers with what came in."""
        return EchoHost(f"{target} {runtime.threads}")


class LeavingBackend(NumpyBackend):
    """Its model ends the process, as `os._exit` in a user's file does."""

    def open_port(self, target: str, runtime: Runtime) -> EchoHost:
        """Never returns."""
        os._exit(7)
