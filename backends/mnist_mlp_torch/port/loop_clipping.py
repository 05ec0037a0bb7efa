"""To what a training loop of a script clips its gradients, told by torch's functions that do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mnist_mlp.ports.script import patched
from mnist_mlp_torch.port.pair_optimizers import CLIP_SLACK


class Clipping:
    """The clipping of the last call; empty where it is of some weights alone, or of another norm.

    `weights` gives those that the judged optimizer moves.
    """

    def __init__(self, weights: Callable[[], Sequence[Any]]) -> None:
        self.found: dict[str, Any] = {}
        self._weights = weights

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts."""
        own = torch.nn.utils

        def by_norm(
            parameters: Any, max_norm: float, norm_type: float = 2.0, *args: Any, **options: Any
        ) -> Any:
            parameters = self._listed(parameters)
            whole = float(norm_type) == 2.0 and self._is_all(parameters)
            at = {"clip": "global", "clip_at": float(max_norm), "clip_slack": CLIP_SLACK}
            self.found = at if whole else {}
            return norm(parameters, max_norm, norm_type, *args, **options)

        def by_value(parameters: Any, clip_value: float, *args: Any, **options: Any) -> Any:
            parameters = self._listed(parameters)
            at = {"clip": "value", "clip_at": float(clip_value)}
            self.found = at if self._is_all(parameters) else {}
            return value(parameters, clip_value, *args, **options)

        norm, value = own.clip_grad_norm_, own.clip_grad_value_
        with patched(own, clip_grad_norm_=by_norm, clip_grad_value_=by_value):
            yield

    @staticmethod
    def _listed(parameters: Any) -> list[Any]:
        """They may be a generator, which is gone through once."""
        return [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)

    def _is_all(self, parameters: Sequence[Any]) -> bool:
        return {id(w) for w in self._weights()} <= {id(w) for w in parameters}
