"""A Keras script as it is: what its `Model.fit` is called with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.script import Catch, other_seeds, patched, run_script
from mnist_mlp.ports.source import read_source
from mnist_mlp.ports.user_code import is_script, load_object, path_of
from mnist_mlp_keras.engine import seeding

WRITERS = ("BackupAndRestore", "CSVLogger", "ModelCheckpoint", "RemoteMonitor", "TensorBoard")
"""Callbacks that leave files of a training; the judged steps are none that a user wants to keep."""


class Script:
    """A script that can be run again; calling it gives what stands under a name elsewhere."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, *, seed: int = 0) -> Mapping[str, Any]:
        """The model and the arguments of `fit`, after other seeds than the script's own."""
        # Layers are called as in the first run: their names are counted from the start.
        keras.utils.clear_session(free_memory=False)
        with other_seeds(seed, {keras.utils: ("set_random_seed",), **seeding()}):
            found = run_script(self.target, _watching)
        if found is None:
            raise UsageError(self._untrained())
        return dict(found)

    def _untrained(self) -> str:
        path = path_of(self.target)
        text = "".join(piece.text for piece in read_source(path).pieces)
        if "GradientTape" in text:
            return (
                f"{path}: it trains by a loop of its own (GradientTape), which check cannot follow."
                f"\nPut what one batch does into the train_step of a keras.Model, and call its fit."
            )
        which = "" if self.target == str(path) else f", or not as often as {self.target} says"
        return (
            f"{path}: it ended without calling Model.fit or train_on_batch{which}.\n"
            f"Name what makes the model instead: {path}:NAME"
        )


def found_in(target: str) -> Any:
    """What stands under a name in a user's file, or the script that the file is."""
    return Script(target) if is_script(target) else load_object(target)


@contextmanager
def _watching(catch: Catch) -> Iterator[None]:
    """Offer each training of any model."""
    own = {name: getattr(keras.Model, name) for name in ("fit", "train_on_batch")}

    def fit(self: Any, *args: Any, **options: Any) -> Any:
        given = inspect.signature(own["fit"]).bind(self, *args, **options).arguments
        note("fit", self, name="fit")
        catch.offer(lambda: _kept({"epochs": 1, **given}))
        with ExitStack() as stack:  # within an earlier training, nothing else counts as one
            stack.enter_context(patched(keras.Model, **own))
            return own["fit"](self, *args, **options)

    def train_on_batch(self: Any, *args: Any, **options: Any) -> Any:
        given = inspect.signature(own["train_on_batch"]).bind(self, *args, **options).arguments
        note("fit", self, name="train_on_batch")
        # Which batches come is up to the script's own loop, and not known.
        catch.offer(lambda: _kept({k: given[k] for k in ("self", "class_weight") if k in given}))
        return own["train_on_batch"](self, *args, **options)

    with patched(keras.Model, fit=fit, train_on_batch=train_on_batch):
        yield


def _kept(given: Mapping[str, Any]) -> dict[str, Any]:
    fit = {key: value for key, value in given.items() if key != "self" and value is not None}
    if "callbacks" in fit:
        own = fit["callbacks"]
        own = own if isinstance(own, list | tuple) else [own]
        fit["callbacks"] = [each for each in own if type(each).__name__ not in WRITERS]
    return {"model": given["self"], "fit": fit}
