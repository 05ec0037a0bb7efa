"""A torch script as it is: what its `Trainer.fit` is called with, or what its loop is made of."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from types import ModuleType
from typing import Any

import lightning.pytorch
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

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
from mnist_mlp.ports.user_code import path_of
from mnist_mlp_torch.port.loop import LoopWatch, refusal, unwrapped

HERE: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "num_nodes": 1}
"""What a script's own `Trainer` is given, where it asks for what this process does not have."""


class Script:
    """A script that can be run again; calling it gives what a dictionary of a user's holds."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.others: tuple[str, ...] = ()
        """That it trains other models as well, in words."""
        self.text = "".join(piece.text for piece in read_source(path_of(target)).pieces)
        self.packages: list[ModuleType] = [lightning.pytorch]
        if "pytorch_lightning" in self.text:  # a twin, with classes of its own
            self.packages.append(importlib.import_module("pytorch_lightning"))

    def __call__(self, *, seed: int = 0) -> Mapping[str, Any]:
        """Module, trainer and data, after other seeds than the script's own.

        Raises
        ------
        UsageError
            It does not train, or by a loop that cannot be judged.
        """
        found = self.run(self._watching, seed=seed)
        if found is None:
            what = "neither Trainer.fit nor the step of an optimizer"
            raise UsageError(untrained(self.target, self._catch, what))
        kinds = tuple(package.LightningModule for package in self.packages)
        self.others = others_told(
            [
                *further_trainings(self.target, self._catch, lambda one: isinstance(one, kinds)),
                *found.pop("others", ()),
            ]
        )
        if "refused" in found:
            raise UsageError(refusal(path_of(self.target), found["refused"]))
        return dict(found)

    def run(self, watching: Watching, *, seed: int = 0) -> Any:
        """Run it; what was caught.

        Where new numbers are float64 (`torch.set_default_dtype`), all that it makes is.
        """
        seeds: dict[Any, tuple[str, ...]] = {torch: ("manual_seed",)}
        for package in self.packages:
            seeds[package] = ("seed_everything",)
        double = _AllDouble() if torch.get_default_dtype() is torch.float64 else nullcontext()
        with other_seeds(seed, seeds), double, _downloads_apart(self.text):
            return run_script(self.target, watching)

    @contextmanager
    def _watching(self, catch: Catch) -> Iterator[None]:
        self._catch = catch
        with ExitStack() as stack:
            for package in self.packages:
                stack.enter_context(_trainer_watched(package.Trainer, catch))
            stack.enter_context(LoopWatch(catch, path_of(self.target)).watching())
            yield


@contextmanager
def _downloads_apart(text: str) -> Iterator[None]:
    """Let no other process download the same data set of torchvision into the same folder."""
    with ExitStack() as stack:
        if "torchvision" in text:  # it takes a second to import
            datasets = importlib.import_module("torchvision.datasets")
            kinds = [kind for kind in vars(datasets).values() if isinstance(kind, type)]
            for kind in kinds:
                if "download" in vars(kind):
                    waiting = apart(vars(kind)["download"], lambda dataset: dataset.root)
                    stack.enter_context(patched(kind, download=waiting))
        yield


class _AllDouble(TorchFunctionMode):
    """Makes float64 of float32, wherever a script makes or casts a tensor.

    A script that runs its model before its training would otherwise stop there: its model is
    float64, and its data are not.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not isinstance(made, Tensor) or made.dtype is not torch.float32:
            return made
        return made if any(made is given for given in args) else made.double()


@contextmanager
def _trainer_watched(kind: Any, catch: Catch) -> Iterator[None]:
    """Offer each `fit` of any trainer."""
    own_init, own_fit = kind.__init__, kind.fit
    arguments: dict[int, dict[str, Any]] = {}

    def init(self: Any, *args: Any, **options: Any) -> None:
        given = dict(inspect.signature(own_init).bind(self, *args, **options).arguments)
        del given["self"]
        note("trainer", self, name="__init__")
        arguments[id(self)] = given
        own_init(self, **{**given, **{k: v for k, v in HERE.items() if k in given}})

    def fit(self: Any, *args: Any, **options: Any) -> Any:
        given = inspect.signature(own_fit).bind(self, *args, **options).arguments
        note("fit", self, name="fit")
        catch.offer(lambda: _kept(given, arguments.get(id(self), {})), unwrapped(given["model"]))
        return own_fit(self, *args, **options)

    with patched(kind, __init__=init, fit=fit):
        yield


def _kept(given: Mapping[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"module": given["model"], "trainer": dict(trainer)}
    train, data = given.get("train_dataloaders"), given.get("datamodule")
    if hasattr(train, "train_dataloader"):  # it may be given in the place of loaders
        train, data = None, train
    if data is not None:
        kept["datamodule"] = data
    elif train is not None:
        kept["loader"] = (train, given.get("val_dataloaders"))
    return kept
