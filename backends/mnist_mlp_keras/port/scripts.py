"""A Keras script as it is: what its `Model.fit` is called with, or what its loop is made of."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
from keras.src.utils.naming import reset_uids  # it has no public name

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.downloads import apart
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.script import (
    Catch,
    Watching,
    further_trainings,
    other_seeds,
    others_told,
    patched,
    run_script,
    untrained,
)
from mnist_mlp.ports.source import read_source
from mnist_mlp.ports.user_code import HELD, is_script, load_object, path_of
from mnist_mlp_keras.engine import seeding
from mnist_mlp_keras.port.loop import LoopWatch, refusal
from mnist_mlp_keras.port.slices import BatchWatch

WRITERS = ("BackupAndRestore", "CSVLogger", "ModelCheckpoint", "RemoteMonitor", "TensorBoard")
"""Callbacks that leave files of a training; the judged steps are none that a user wants to keep."""


class Script:
    """A script that can be run again; calling it gives what stands under a name elsewhere."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.text = "".join(piece.text for piece in read_source(path_of(target)).pieces)
        self._known: dict[str, Any] = {}
        """What the batches are that its loop makes itself; they are recorded once."""
        self.others: tuple[str, ...] = ()
        """That it trains other models as well, in words."""

    def __call__(self, *, seed: int = 0) -> Mapping[str, Any]:
        """The model and the arguments of `fit`, after other seeds than the script's own.

        Raises
        ------
        UsageError
            It does not train, or by a loop that cannot be judged.
        """
        found = self.run(self._watching, seed=seed)
        if found is None:
            what = "neither Model.fit or train_on_batch nor apply of an optimizer"
            raise UsageError(untrained(self.target, self._catch, what))
        self.others = others_told(
            further_trainings(self.target, self._catch, lambda one: isinstance(one, keras.Model))
        )
        if "refused" in found:
            raise UsageError(refusal(self.target, found["refused"]))
        if "loader" in found:
            self._known = {key: found[key] for key in found if key in ("loader", "loop", "fit")}
        return dict(found)

    def run(self, watching: Watching, *, seed: int = 0) -> Any:
        """Run it; what was caught."""
        # Layers are called as in the first run: their names are counted from the start.
        keras.utils.clear_session(free_memory=False)
        seeds = other_seeds(seed, {keras.utils: ("set_random_seed",), **seeding()})
        with seeds, _downloads_apart():
            return run_script(self.target, watching)

    @contextmanager
    def _watching(self, catch: Catch) -> Iterator[None]:
        """Offer each training of any model."""
        self._catch = catch
        own = {name: getattr(keras.Model, name) for name in ("fit", "train_on_batch")}
        loop, batches = LoopWatch(catch, self._known), BatchWatch(catch, self._known)

        def fit(self: Any, *args: Any, **options: Any) -> Any:
            given = inspect.signature(own["fit"]).bind(self, *args, **options).arguments
            note("fit", self, name="fit")
            catch.offer(lambda: _kept({"epochs": 1, **given}), self)
            # Within an earlier training, nothing else counts as one.
            with patched(keras.Model, **own), loop.at_rest():
                return own["fit"](self, *args, **options)

        def train_on_batch(self: Any, *args: Any, **options: Any) -> Any:
            given = inspect.signature(own["train_on_batch"]).bind(self, *args, **options).arguments
            note("fit", self, name="train_on_batch")
            known: dict[str, Any] = {k: given[k] for k in given if k in ("self", "class_weight")}
            with loop.at_rest():
                batches.called(self, given["x"], given.get("y"), lambda: _kept(known))
                return own["train_on_batch"](self, *args, **options)

        with loop.watching(), patched(keras.Model, fit=fit, train_on_batch=train_on_batch):
            yield


@contextmanager
def _downloads_apart() -> Iterator[None]:
    """Let no other process fill the same cache meanwhile, wherever `get_file` has been imported."""
    own = keras.utils.get_file
    waiting = apart(own, _cache_of)
    places = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "keras" and vars(module).get("get_file") is own
    ]
    with ExitStack() as stack:
        for module in places:
            stack.enter_context(patched(module, get_file=waiting))
        yield


def _cache_of(*args: Any, **options: Any) -> str:
    """The folder that `get_file` writes to."""
    given = inspect.signature(keras.utils.get_file).bind(*args, **options).arguments
    home = given.get("cache_dir") or os.environ.get("KERAS_HOME") or "~/.keras"
    return os.path.join(home, given.get("cache_subdir", "datasets"))  # noqa: PTH118


def found_in(target: str) -> Any:
    """What stands under a name in a user's file, or the script that the file is."""
    if is_script(target):
        return Script(target)
    reset_uids()  # names as in a process of its own
    found = load_object(target)
    return in_default_type(found) if target in HELD else found


def in_default_type(found: Any) -> Any:
    """A model that was made elsewhere, in the type that new layers have now."""
    if isinstance(found, Mapping):
        return {key: in_default_type(value) for key, value in found.items()}
    kind = keras.config.floatx()
    if not isinstance(found, keras.Model) or all(v.dtype == kind for v in found.trainable_weights):
        return found
    made = keras.saving.deserialize_keras_object(
        _typed(keras.saving.serialize_keras_object(found), kind)
    )
    made.set_weights(found.get_weights())
    return made


def _typed(config: Any, kind: str) -> Any:
    """A configuration with another type in the place of float32."""
    if isinstance(config, Mapping):
        # A rate is kept in float32: what the user wrote has fewer digits.
        return {
            key: float(f"{value:.7g}")
            if key == "learning_rate" and isinstance(value, float)
            else _typed(value, kind)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_typed(value, kind) for value in config)
    return kind if config == "float32" else config


def _kept(given: Mapping[str, Any]) -> dict[str, Any]:
    fit = {key: value for key, value in given.items() if key != "self" and value is not None}
    if "callbacks" in fit:
        own = fit["callbacks"]
        own = own if isinstance(own, list | tuple) else [own]
        fit["callbacks"] = [each for each in own if type(each).__name__ not in WRITERS]
    return {"model": given["self"], "fit": fit}
