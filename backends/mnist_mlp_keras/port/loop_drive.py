"""Other batches than its own for a `GradientTape` loop in a script, whose own lines make the steps.

At the place where it goes over its data set, it gets the batches that are asked for. Weights are
set when the model is called, gradients are taken where the optimizer is given them, and the run
ends after the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.driving import Batch, Driving
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp_keras.engine import as_the_run, is_endless
from mnist_mlp_keras.port.loop import SEVERAL, Loop, Seen, Site, refusal


class Drive(Driving, Seen):
    """One run of a script in which its loop gets other batches, and is stopped after the last.

    Parameters
    ----------
    epochs, on_end
        See `Driving`.
    on_step : callable
        Called with the model when a batch is put into it, before that; whether it is to be in
        training mode in any case.
    on_update : callable
        Called with the optimizer, its own `apply`, gradients and variables, in the place of it.
    on_taken : callable
        Called with target, sources and gradients of a tape; it may give others instead.
    """

    def __init__(
        self,
        loop: Loop,
        epochs: Sequence[Sequence[Batch]],
        *,
        on_step: Callable[[Any], bool],
        on_update: Callable[[Any, Callable[..., Any], list[Any], Any], Any],
        on_taken: Callable[[Any, Sequence[Any], Sequence[Any]], Sequence[Any] | None],
        on_end: Callable[[], None],
    ) -> None:
        Driving.__init__(self, epochs, on_end)
        Seen.__init__(self, loop.target)
        self.loop = loop
        self.on_step, self.on_update, self.on_taken = on_step, on_update, on_taken
        self._own = [batch for epoch in epochs for batch in epoch] if loop.site is None else []
        self._fresh = loop.site is None
        self._calls = 0
        self._optimizer: Any = None

    @contextmanager
    def driving(self, catch: Catch) -> Iterator[None]:
        """While this lasts; the script's `catch` is for its end."""
        self.begin(catch)
        with self.watching(), patched(keras.Model, evaluate=one_batch(keras.Model.evaluate)):
            yield
            self.on_end()

    def elements(self, dataset: Any, own: Callable[[Any], Any], site: Site) -> Iterator[Any]:
        """One epoch's batches, or the whole where the data set repeats itself."""
        if site == self.loop.paced:
            yield from map(as_the_run, own(dataset))
            return
        if site != self.loop.site:
            # An evaluation: a batch shows what it moves.
            yield from islice(map(as_the_run, own(dataset)), 1)
            return
        # If the loop stands in another file, whether another epoch follows the first is seen only
        # when the script goes on to what comes after its training.
        joined = is_endless(dataset) or not self.catch.loops
        for batch in self.rest_of_epoch(joined=joined):
            self._fresh = True
            yield batch
            self.on_end()
            self.end_if_done()

    def on_call(
        self, model: Any, args: Any, options: dict[str, Any], own: Callable[..., Any]
    ) -> tuple[Any, dict[str, Any]]:
        """A step begins with the first call after a batch was given."""
        if model.name != self.loop.model:
            return args, options  # that of another training, before this one
        self._calls += 1
        if not self._fresh or self._calls <= self.loop.before:
            return args, options
        self._fresh = False
        self.steps += 1
        self.losses.forget()
        x = args[0] if args else options.pop(next(iter(options)))
        if self._own:
            self.on_end()
            x, self.losses.instead = self._own[self.steps - 1]
        if not model.built:
            own(model, x)
        self.inputs.append(x)
        if self.on_step(model) and model._call_has_training_arg:
            return (x,), {**options, "training": True}
        return (x, *args[1:]), options

    def on_gradients(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        """Hand them on."""
        return self.on_taken(target, sources, gradients)

    def on_apply(
        self, optimizer: Any, own: Callable[..., Any], gradients: list[Any], variables: Any
    ) -> Any:
        """One update; a loop that makes its batches itself begins a new step after it."""
        if not self.steps:
            return own(optimizer, gradients, variables)
        if self._optimizer is None:
            self._optimizer = optimizer
        elif optimizer is not self._optimizer:
            raise UsageError(refusal(self.target, SEVERAL))
        result = self.on_update(
            optimizer, lambda *given: own(optimizer, *given), gradients, variables
        )
        if self._own:
            self._fresh, self.losses.instead = True, None
            self.end_if_done()
        return result


def one_batch(own: Callable[..., Any]) -> Callable[..., Any]:
    """An evaluation that is soon over; it moves no weight."""

    def evaluate(model: Any, *args: Any, **options: Any) -> Any:
        return own(model, *args, **{**options, "steps": 1})

    return evaluate
