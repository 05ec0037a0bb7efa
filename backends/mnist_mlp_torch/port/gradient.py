"""Catching the gradient of a step at the right moment.

It is what the user's code makes of it, hooks included, but before any clipping, which belongs to
the update. So it is taken when the first of these happens after a backward pass: Lightning comes to
clip, torch's own clipping functions are called, or an optimizer steps. Where none of them does
(gradients are gathered over several batches), it is what the backward pass left.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mnist_mlp.contract import Array
from mnist_mlp.ports.clipping import shortened
from mnist_mlp_torch.port.state import Parameters, canonical

_CLIPPERS = ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_")

_listeners: list[Callable[[], None]] = []


def watch_clipping() -> None:
    """Let torch's clipping functions tell before they clip; to be called before user code is."""
    for name in _CLIPPERS:
        for place in (torch.nn.utils, torch.nn.utils.clip_grad):
            original = getattr(place, name, None)
            if original is not None and not hasattr(original, "tells"):
                setattr(place, name, _telling(original))


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def clip(*arguments: Any, **options: Any) -> Any:
        for listener in _listeners:
            listener()
        return original(*arguments, **options)

    clip.tells = True  # type: ignore[attr-defined]
    return clip


class GradientTaker:
    """Takes the gradient of each step while `active`; `clips` says that the specification does.

    `updates` is called with each optimizer that makes a step.
    """

    def __init__(
        self, parameters: Parameters, *, clips: bool, updates: Callable[[Any], None]
    ) -> None:
        self.parameters = parameters
        self._updates = updates
        self.clips = clips
        self.active = False
        self._left: dict[str, Any] = {}
        self._taken: dict[str, Any] | None = None
        self._hooks: list[Any] = [register_optimizer_step_pre_hook(self._steps)]
        for name, (_, parameter) in parameters.items():
            # A frozen parameter takes no hook; its gradient stays None.
            with suppress(AttributeError, RuntimeError):
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._keep(name)))
        _listeners.append(self.take)

    def close(self) -> None:
        """Stop listening."""
        _listeners.remove(self.take)
        for hook in self._hooks:
            hook.remove()

    def _steps(self, optimizer: Any, *_: Any) -> None:
        self._updates(optimizer)
        self.take()

    def start(self) -> None:
        """Wait for a step's gradient."""
        self.active, self._left, self._taken = True, {}, None

    def given(self, gradients: dict[int, Any]) -> None:
        """`torch.autograd.grad` was asked for gradients, here by `id` of their tensors: they go
        past the buffers."""
        own = {name: gradients.get(id(p)) for name, (_, p) in self.parameters.items()}
        if self.active and self._taken is None and any(g is not None for g in own.values()):
            self._left = {n: g.detach().clone() for n, g in own.items() if g is not None}

    def take(self) -> None:
        """Something is about to use the gradients, or to clip them.

        Lightning gives an optimizer the backward pass as a closure: a step may begin before there
        are gradients.
        """
        if self.active and self._left and self._taken is None:
            self._taken = {
                name: None if p is None or p.grad is None else p.grad.detach().clone()
                for name, (_, p) in self.parameters.items()
            }

    def _keep(self, name: str) -> Callable[[Any], None]:
        def keep(parameter: Any) -> None:
            if self.active and self._taken is None:
                self._left[name] = parameter.grad.detach().clone()

        return keep

    def finish(self, *, as_left: bool) -> dict[str, Array]:
        """The step's gradient, by canonical name; zeros where there is none.

        `as_left` asks for what the backward pass left, whatever was made of it afterwards.
        """
        self.active = False
        left = self._canonical(self._left)
        if self._taken is None or (as_left and self._left):
            return left
        taken = self._canonical(self._taken)
        return left if self.clips and self._left and shortened(taken, left) else taken

    def _canonical(self, found: dict[str, Any]) -> dict[str, Array]:
        names = {id(p): name for name, (_, p) in self.parameters.items() if p is not None}
        return canonical(self.parameters, lambda parameter: found.get(names[id(parameter)]))
