"""Listening to what a user's module computes, logs and hands to the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mnist_mlp_torch.port.load import overrides


class Listener:
    """What was returned, logged and differentiated since `start`."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.per_step = False
        """Whether `self.log` would by default log the value of a step now."""
        self._steps: set[str] = set()
        self._epochs: set[str] = set()
        self._inside = False
        self.start()

    def start(self) -> None:
        """A new batch."""
        self.returned: float | None = None
        self.logged: dict[str, float] = {}
        self.differentiated: list[float] = []
        self._updates: dict[int, int] = {}
        self._before_update = 0

    def updated(self, optimizer: Any) -> None:
        """An optimizer makes a step."""
        if not self._updates:
            self._before_update = len(self.differentiated)
        self._updates[id(optimizer)] = self._updates.get(id(optimizer), 0) + 1

    @property
    def updates(self) -> int:
        """How many steps were made of the batch, by the optimizer that made most; 1 if none was."""
        return max(self._updates.values(), default=1)

    @property
    def loss(self) -> float:
        """Of the batch: what `training_step` returned; in manual optimisation, what went into the
        backward passes, all of them together, or where an optimizer steps more than once, those
        before its first step: later ones start from other weights. NaN if there was none."""
        if not self.module.automatic_optimization and self.differentiated:
            first = self._before_update if self.updates > 1 else 0
            return sum(self.differentiated[:first] or self.differentiated)
        return float("nan") if self.returned is None else self.returned

    @property
    def validation_loss(self) -> float | None:
        """Of the batch: what `validation_step` returned, or logged as a loss."""
        if self.returned is not None:
            return self.returned
        return next((v for name, v in self.logged.items() if "loss" in name.lower()), None)

    def of_the_epoch(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Those of a trainer's metrics that stand for the epoch, not for its last step."""
        forks = {f"{name}_step" for name in self._steps}
        only = (self._steps - self._epochs) | forks
        return {name: float(value) for name, value in metrics.items() if name not in only}

    @contextmanager
    def listening(
        self, before_clip: Callable[[], None], given: Callable[[dict[int, Any]], None]
    ) -> Iterator[None]:
        """Wrap the module's methods while this lasts; `before_clip` is called when Lightning comes
        to clip gradients, `given` with what `torch.autograd.grad` answers, by tensor's `id`."""

        def returns(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                result = original(*arguments, **options)
                if self.returned is None:  # an optimizer may ask for the step twice
                    self.returned = _loss_in(result)
                return result

            return step

        def clips(original: Callable[..., Any]) -> Callable[..., Any]:
            def clip(*arguments: Any, **options: Any) -> Any:
                before_clip()
                return original(*arguments, **options)

            return clip

        wrappers = {
            "training_step": returns,
            "configure_gradient_clipping": clips,
            "log": self.logs,
        }
        if overrides(self.module, "validation_step"):
            wrappers["validation_step"] = returns
        own = {name: vars(self.module).get(name) for name in wrappers}
        for name, wrapper in wrappers.items():
            original = getattr(self.module, name)
            # Lightning looks at signatures, and finds them behind `wraps`.
            setattr(self.module, name, functools.wraps(original)(wrapper(original)))
        backward = torch.Tensor.backward
        torch.Tensor.backward = self._differentiates(backward)
        grad = torch.autograd.grad
        torch.autograd.grad = self._asks(grad, given)
        try:
            yield
        finally:
            torch.Tensor.backward, torch.autograd.grad = backward, grad
            for name, value in own.items():
                if value is None:
                    delattr(self.module, name)
                else:
                    setattr(self.module, name, value)

    def logs(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A module's `log` that also notes which numbers are an epoch's."""

        def log(name: str, value: Any, *arguments: Any, **options: Any) -> Any:
            whole = options.get("on_epoch")
            if whole or (whole is None and not self.per_step):
                self._epochs.add(name)
            if options.get("on_step") or not (whole or name in self._epochs):
                self._steps.add(name)
            if not self.per_step:
                number = value._forward_cache if isinstance(value, Metric) else value
                if isinstance(number, int | float) or _is_scalar(number):
                    self.logged.setdefault(name, float(number))
            return original(name, value, *arguments, **options)

        return log

    def _asks(
        self, original: Callable[..., Any], given: Callable[[dict[int, Any]], None]
    ) -> Callable[..., Any]:
        @functools.wraps(original)
        def grad(outputs: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
            asked = [inputs] if isinstance(inputs, Tensor) else list(inputs)
            result = original(outputs, asked, *arguments, **options)
            first = outputs if isinstance(outputs, Tensor) else next(iter(outputs))
            if _is_scalar(first):
                self.differentiated.append(float(first.detach()))
            given({id(tensor): g for tensor, g in zip(asked, result, strict=True)})
            return result

        return grad

    def _differentiates(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def backward(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
            # A function mode sends the call round once more.
            if _is_scalar(tensor) and not self._inside:
                self.differentiated.append(float(tensor.detach()))
            before, self._inside = self._inside, True
            try:
                return original(tensor, *arguments, **options)
            finally:
                self._inside = before

        return backward


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _loss_in(result: Any) -> float | None:
    if isinstance(result, Mapping):
        result = result.get("loss")
    return float(result.detach()) if _is_scalar(result) else None
