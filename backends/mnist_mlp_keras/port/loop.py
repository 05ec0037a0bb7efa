"""A training loop with `GradientTape`, in a script that nobody edits.

The script runs until its first update, or for a few epochs where it makes its batches itself
(`slices`). By then it has shown its model, its loss, and the place where it goes over a
`tf.data.Dataset`. In another run of the script, the loop's own lines are judged (`loop_drive`).
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from mnist_mlp.ports.lines import note
from mnist_mlp.ports.recording import Recording
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp.ports.unlabelled import seen_form
from mnist_mlp.ports.user_code import belongs_to_user, path_of
from mnist_mlp_keras.engine import (
    as_the_run,
    eager_functions,
    is_endless,
    iterated_datasets,
    watched_gradients,
    watched_tapes,
)
from mnist_mlp_keras.port.slices import Losses, Start, as_arrays, dataset_of, epochs_of, same
from mnist_mlp_keras.port.state import number

Site = tuple[str, int]
"""A file and a line."""

SEVERAL = "it has several optimizers"


@dataclass(frozen=True)
class Loop:
    """What a script's loop is made of.

    `site` is where it goes over its data set; None where it makes its batches itself, or its
    targets out of what its data set gives, at `paced`. `model` is the name of its model, `before`
    how often that is called under a tape before it trains, `epochs` how often its data are gone
    over, where that is known. Of `unlabelled` batches, only the inputs are looked at (see
    `OwnData`).
    """

    target: str
    site: Site | None
    model: str
    epochs: int | None = None
    before: int = 0
    paced: Site | None = None
    unlabelled: str = ""


def refusal(target: str, reason: str) -> str:
    """Why a loop is not judged, and what to do."""
    return (
        f"{path_of(target)}: its training loop cannot be judged: {reason}.\n"
        f"Put what one batch does into the train_step of a keras.Model, and call its fit."
    )


def _site(path: Path) -> Site | None:
    """The user's line that iterates a data set; None if Keras or TensorFlow itself does."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in ("keras", "tensorflow"):
            return None
        if package == "__main__" or belongs_to_user(Path(frame.f_code.co_filename), path):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


class _Elements:
    """An iterator as `iter(dataset)` gives it."""

    def __init__(self, elements: Iterator[Any]) -> None:
        self._elements = elements

    def __iter__(self) -> _Elements:
        return self

    def __next__(self) -> Any:
        return next(self._elements)

    get_next = __next__


class Seen(ABC):
    """Calls of models under a tape, and updates, of the user's own code alone."""

    def __init__(self, target: str) -> None:
        self.target, self.path = target, path_of(target)
        self.tapes = 0
        self.losses = Losses()
        self._depth = 0
        self._within = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts."""
        model, optimizer = keras.Model, keras.optimizers.Optimizer
        with ExitStack() as stack:
            stack.enter_context(eager_functions())
            stack.enter_context(watched_tapes(self._moved))
            stack.enter_context(watched_gradients(self._graded))
            stack.enter_context(iterated_datasets(self._iterating))
            stack.enter_context(patched(model, __call__=self._calling(model.__call__)))
            stack.enter_context(patched(optimizer, apply=self._applying(optimizer.apply)))
            stack.enter_context(self.losses.watching())
            self._moved(0)
            yield

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within a training of Keras's own, nothing of it is the loop's."""
        before, self._within = self._within, True
        try:
            with eager_functions(eagerly=False):
                yield
        finally:
            self._within = before

    def _moved(self, by: int) -> None:
        self.tapes += by
        self.losses.on = self.tapes > 0 and not self._within

    def _graded(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        if self._within:
            return None
        note("backward")
        return self.on_gradients(target, sources, gradients)

    def _iterating(self, dataset: Any, own: Callable[[Any], Any]) -> Any:
        site = None if self._within else _site(self.path)
        return own(dataset) if site is None else _Elements(self.elements(dataset, own, site))

    def _calling(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(model: Any, *args: Any, **options: Any) -> Any:
            if self._within or self._depth or not self.tapes:
                return own(model, *args, **options)
            self._depth += 1
            try:
                args, options = self.on_call(model, args, options, own)
                return own(model, *args, **options)
            finally:
                self._depth -= 1

        return call

    def _applying(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if self._within:
                return own(optimizer, grads, trainable_variables)
            self._within = True
            note("step")
            try:
                return self.on_apply(optimizer, own, list(grads), trainable_variables)
            finally:
                self._within = False

        return apply

    @abstractmethod
    def elements(self, dataset: Any, own: Callable[[Any], Any], site: Site) -> Iterator[Any]:
        """What the user's code gets of a data set."""

    @abstractmethod
    def on_gradients(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        """A tape has given gradients: others instead, if any."""

    @abstractmethod
    def on_call(
        self, model: Any, args: Any, options: dict[str, Any], own: Callable[..., Any]
    ) -> tuple[Any, dict[str, Any]]:
        """A model is called under a tape: what it is called with instead."""

    @abstractmethod
    def on_apply(
        self, optimizer: Any, own: Callable[..., Any], gradients: list[Any], variables: Any
    ) -> Any:
        """An optimizer is about to make an update."""


# --- Until the first update -----------------------------------------------------------------------


class LoopWatch(Seen):
    """Offers a loop when it makes its first update.

    `known` is what an earlier run of the script has shown.
    """

    def __init__(self, catch: Catch, known: dict[str, Any]) -> None:
        super().__init__(catch.target)
        self.catch = catch
        self.known = known
        self.start: Start | None = None
        """Of the model that was called last before the first update."""
        self.batch: tuple[Any, Site, Any] | None = None
        """Data set, place and element that the user's code has got last."""
        self.inputs: list[Any] = []
        """What models were given under a tape since the last update."""
        self.gradients = 0
        self.before = 0
        self.done: list[Any] = []
        """Optimizers of earlier trainings."""
        self.own: Any = None
        """The optimizer of a loop that makes its batches itself."""
        self.recording = Recording()
        self._loops: list[int | None] = []
        self._paced: Site | None = None

    def elements(self, dataset: Any, own: Callable[[Any], Any], site: Site) -> Iterator[Any]:
        """Its own; what a model was given before an element came is no part of a step."""
        for element in map(as_the_run, own(dataset)):
            if self.own is None:
                self.batch = dataset, site, element
                self._forget()
            yield element
        self.batch = None

    def _forget(self) -> None:
        self.inputs, self.gradients = [], 0
        self.losses.forget()

    def on_gradients(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        """Count them."""
        del target, sources, gradients
        self.gradients += 1
        return None

    def on_call(
        self, model: Any, args: Any, options: dict[str, Any], own: Callable[..., Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Keep the model as it is."""
        x = args[0] if args else next(iter(options.values()))
        if self.own is None:
            new = self.start is None or self.start.model is not model
            if new:
                self.before = 0
            self.before += 1
            # A copy of each state of a model that an earlier training has moved would be slow.
            if new or not self._is_trained(model):
                self.start = Start(model, x, own)
        self.inputs.append(x)
        return args, options

    def _is_trained(self, model: Any) -> bool:
        moved = {id(v) for one in self.done for v in one._trainable_variables}
        return any(id(v) in moved for v in model.trainable_variables)

    def on_apply(
        self, optimizer: Any, own: Callable[..., Any], gradients: list[Any], variables: Any
    ) -> Any:
        """Offer the loop, or record its batches."""
        variables = list(variables or optimizer._trainable_variables)
        if self.own is not None:
            self._recorded(optimizer)
        elif not any(optimizer is known for known in self.done):
            found = self._found(variables, optimizer)
            model = self.start.model if self.start is not None else None
            meant = model is None or self.catch.is_meant(model)
            if "refused" in found or self.known or self.batch is not None or not meant:
                self.catch.offer(lambda: self._whole(found, optimizer), model)
                self.done.append(optimizer)
            else:
                self.own, self._loops = optimizer, list(self.catch.loops)
                self.before, self.inputs = self.before - 1, self.inputs[-1:]
                self._recorded(optimizer)
                self.catch.on_left = lambda: self._finish(ended=True)
        self._forget()
        return own(optimizer, gradients, variables)

    def _whole(self, found: dict[str, Any], optimizer: Any) -> dict[str, Any]:
        """The loop with its model as it was before its training."""
        if "refused" in found:
            return found
        assert self.start is not None
        self.start.restore()
        model = self.start.model
        as_compiled(model, optimizer, self.losses.loss)
        return {"model": model, "fit": {}, **found, **self.known}

    def _found(self, variables: Sequence[Any], optimizer: Any) -> dict[str, Any]:
        """The loop, or in words why it cannot be judged."""
        if not self.gradients or self.start is None:
            return {"refused": "its loss is made of no keras.Model that is called under the tape"}
        if self.gradients > 1:
            return {"refused": f"it takes gradients {self.gradients} times for its first update"}
        if len(self.inputs) > 1 and self.batch is not None:
            return {"refused": f"its model is called {len(self.inputs)} times for one update"}
        owned = {id(v) for v in self.start.model.trainable_variables}
        if any(id(v) not in owned for v in variables):
            return {"refused": "its optimizer updates weights outside of the model that was run"}
        if self.batch is not None and not (self._unlabelled or self._from_dataset()):
            self._paced, self.batch = self.batch[1], None
        if self.batch is None:
            return {}
        dataset, site, element = self.batch
        weighted = isinstance(element, tuple) and len(element) == 3 and _one_a_row(element[2])
        unlabelled = self._unlabelled
        parts = len(element) if isinstance(element, tuple | list) else 0
        if not (unlabelled or parts == 2 or weighted):
            what = f"{len(element)} parts" if isinstance(element, tuple) else type(element).__name__
            return {"refused": f"its data set gives {what}, expected (x, y)"}
        epochs = self._epochs(dataset)
        loop = Loop(self.target, site, self.start.model.name, epochs, unlabelled=unlabelled)
        return {"loader": dataset, "loop": loop, "fit": {"epochs": epochs} if epochs else {}}

    @property
    def _unlabelled(self) -> str:
        """How its data set gives batches without targets, if it does (`seen_form`)."""
        if self.batch is None or not self.inputs:
            return ""
        element = self.batch[2]
        parts = element if isinstance(element, tuple | list) else (element,)
        return seen_form(element, self.inputs[-1], self.losses.targets, same, parts=parts)

    def _from_dataset(self) -> bool:
        """Whether the model was given as many rows as the data set has just given, and the loss
        the targets beside them, and not the inputs again, as an autoencoder's."""
        assert self.batch is not None
        element = self.batch[2]
        parts = element if isinstance(element, tuple | list) else (element,)
        again = [same(self.losses.targets, part) for part in parts]
        if len(parts) == 1 or (again[:1] == [True] and not any(again[1:])):
            return False
        first = parts[0] if parts else None
        given: tuple[Any, Any] = first, self.inputs[-1]
        shapes = [x.shape[:1] for x in given if hasattr(x, "shape")]
        return len(shapes) < 2 or bool(shapes[0] == shapes[1])

    def _epochs(self, dataset: Any) -> int | None:
        """How often the loop runs in which the loop over the batches stands.

        That is the innermost, and goes over the data set or over something without a length, such
        as `enumerate(dataset)`. In another file it is not seen.
        """
        size = None if is_endless(dataset) else int(dataset.cardinality())
        return self.catch.epochs_over(size)

    # --- Batches that it makes itself -----------------------------------------------------------

    def _recorded(self, optimizer: Any) -> None:
        x, y = self.inputs, self.losses.targets
        if optimizer is not self.own:
            self._refuse(SEVERAL)
        elif len(x) != 1:
            self._refuse(f"its model is called {len(x)} times for one update")
        elif not hasattr(x[0], "shape"):
            self._refuse("its model is given more than one tensor")
        elif y is None or len(y) != len(x[0]):
            self._refuse(
                "its loss is none of Keras's, and its targets come from no tf.data.Dataset"
            )
        elif self.recording.add(number(x[0]), as_arrays(x[0], y)):
            self._finish(ended=False)

    def _refuse(self, reason: str) -> None:
        self.catch.offer(lambda: {"refused": reason})

    def _finish(self, *, ended: bool) -> None:
        self.recording.close(ended=ended)
        if not self.recording.known:
            self._refuse("its batches come from no tf.data.Dataset, and it makes no two epochs")
        epochs = epochs_of(self._loops, self.recording)
        assert self.start is not None
        found = {
            "loader": dataset_of(self.recording),
            "loop": Loop(
                self.target, None, self.start.model.name, epochs, self.before, self._paced
            ),
            "fit": {"epochs": epochs} if epochs else {},
        }
        self.catch.offer(lambda: self._whole(found, self.own))


def _one_a_row(part: Any) -> bool:
    """Whether a part of a batch are weights of its rows."""
    return len(getattr(part, "shape", ())) == 1 and "float" in str(getattr(part, "dtype", ""))


def as_compiled(model: Any, optimizer: Any, loss: Any) -> None:
    """Let a model know what its loop trains it with, as `compile` does."""
    # Its own __setattr__ would take the optimizer's variables for the model's.
    vars(model).update(optimizer=optimizer, loss=loss)
