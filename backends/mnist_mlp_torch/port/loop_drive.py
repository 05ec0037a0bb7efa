"""Other batches than its own for a torch loop in a script, whose own lines then make judged steps.

Its loader gives the batches that are asked for, weights are set when the module is called,
gradients are taken after `backward`, and the run ends after the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from mnist_mlp.ports.driving import Batch, Driving
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp_torch.port.loop import Loop
from mnist_mlp_torch.port.loop_made import Made, place_of
from mnist_mlp_torch.port.slices import Targets


class Drive(Driving):
    """One run of a script in which its loop gets other batches, and is stopped after the last.

    Parameters
    ----------
    epochs, on_end
        See `Driving`.
    on_step : callable
        Called with the module and the optimizers when a batch is put into the module, before that.
    on_gradients : callable
        Called after each `backward` and before each update.
    """

    def __init__(
        self,
        loop: Loop,
        epochs: Sequence[Sequence[Batch]],
        *,
        on_step: Callable[[Any, list[Any]], None],
        on_gradients: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(epochs, on_end)
        self.loop = loop
        self.on_step, self.on_gradients = on_step, on_gradients
        self.made = Made()
        self._own = [batch for epoch in epochs for batch in epoch] if loop.loader is None else []
        self._fresh = loop.loader is None
        self._epoch: Sequence[Batch] = ()
        self.keeps_length = False
        """Whether the loop is given epochs of as many batches as its own."""
        self._calls = 0
        self._module: Any = None
        self._within = False
        self.targets: Targets | None = None
        """Gives the losses the targets of a step, where the loop makes its batches itself."""

    @contextmanager
    def watching(self, catch: Catch) -> Iterator[None]:
        """While this lasts; the script's `catch` is for its end."""
        self.begin(catch)
        with ExitStack() as stack:
            stack.enter_context(self.made.watching())
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_optimizer_step_pre_hook(lambda *_: self.on_gradients()),
            ):
                stack.callback(handle.remove)
            stack.enter_context(patched(DataLoader, __iter__=self._iterating(DataLoader.__iter__)))
            stack.enter_context(patched(Tensor, backward=self._backward(Tensor.backward)))
            if self.loop.accumulated > 1 and not self.keeps_length:
                length = {"__len__": self._length(DataLoader.__len__)}
                stack.enter_context(patched(DataLoader, **length))
            yield
            self.on_end()

    def _iterating(self, own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def iterate(loader: Any) -> Iterator[Any]:
            if self.made.is_loader(loader, self.loop.paced):
                return own(loader)
            if self.made.is_loader(loader, self.loop.loader):
                return self._batches()
            return islice(own(loader), 1)  # an evaluation: a batch shows what it moves

        return iterate

    def _length(self, own: Callable[[Any], int]) -> Callable[[Any], int]:
        def length(loader: Any) -> int:
            # A loop that does something else at the last batch of an epoch asks for it among its
            # batches; what is made of it before, as a schedule, is meant for the user's own epochs.
            # Where these end with too few batches for an update, the end must not come here.
            if not self.steps or not self.made.is_loader(loader, self.loop.loader):
                return own(loader)
            return len(self._epoch) + own(loader) % self.loop.accumulated

        return length

    def _batches(self) -> Iterator[Any]:
        """One epoch's: a loader begins anew as often as it is asked."""
        # If the loop stands in another file, whether there is another epoch after the first is seen
        # only when the script goes on to what comes after its training.
        self._epoch = self.rest_of_epoch(joined=not self.catch.loops)
        for batch in self._epoch:
            self._fresh = True
            yield batch if isinstance(batch, Tensor) else self.loop.kind(batch)
            self.on_end()
            self.end_if_done()

    def _enter(self, module: Any, args: Any) -> Any:
        if torch.is_grad_enabled() is self.loop.quiet:
            return None
        if place_of(module, self.made.modules[self.loop.module : self.loop.module + 1]) is None:
            return None
        self._calls += 1
        if not self._fresh or self._calls <= self.loop.before:
            return None
        if self._own:
            self.end_if_done()
        self._fresh = False
        self.steps += 1
        if self.made.before is None:
            self.made.before = len(self.made.loaders)
        if not self._own:
            self.inputs.append(args[0].detach().clone() if _is_single(args) else None)
            self.on_step(self._whole(), self.made.optimizers[self.loop.optimizer :])
            return None
        self.on_end()
        x, y = self._own[self.steps - 1]
        self.targets = Targets(y)
        self.inputs.append(x)
        optimizers = self.made.optimizers[self.loop.optimizer :]
        self.on_step(self._whole(), optimizers)
        if self.steps == 1:
            for optimizer in optimizers:
                optimizer.step = self._stepping(optimizer.step)
        return (x,)

    def _whole(self) -> Any:
        """The module that is judged, the same in all steps."""
        if self._module is None:
            self._module = self.loop.whole(self.made.modules)
        return self._module

    def _stepping(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            result = own(*args, **options)
            self._updated()
            return result

        return step

    def _updated(self) -> None:
        """After an update; a loop that makes its batches itself begins a new step then.

        What it still does to its weights belongs to the step: the last one is over when the module
        is called again, or no loop of the script is left.
        """
        if not self._own or self._fresh or not self.steps:
            return
        self._fresh = True
        if not self.catch.loops:
            self.end_if_done()

    def _backward(self, own: Callable[..., None]) -> Callable[..., None]:
        def backward(*args: Any, **options: Any) -> None:
            # Where calls are observed, `own` comes back here once more for each observer.
            outer, self._within = not self._within, True
            if outer:
                note("backward")
            try:
                own(*args, **options)
            finally:
                if outer:
                    self._within = False
            if outer:
                self.on_gradients()

        return backward


def _is_single(args: Sequence[Any]) -> bool:
    return len(args) == 1 and isinstance(args[0], Tensor)
