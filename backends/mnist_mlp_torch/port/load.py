"""A user's `FILE.py:NAME`: what it is, how to make modules of it, and a `Trainer` for them."""

from __future__ import annotations

import copy
import inspect
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning.pytorch
import numpy as np
import torch

from mnist_mlp.contract import Runtime
from mnist_mlp.errors import UsageError
from mnist_mlp.nearest import did_you_mean
from mnist_mlp.ports.user_code import is_script, load_object, path_of, user_errors
from mnist_mlp_torch.port.loop import Loop
from mnist_mlp_torch.port.plain import is_plain, plain
from mnist_mlp_torch.port.scripts import Script
from mnist_mlp_torch.port.wrap import no_module

KEYS = ("module", "loss", "optimizer", "trainer", "datamodule", "loader")

OURS = (
    "accelerator", "barebones", "callbacks", "default_root_dir", "devices", "enable_checkpointing",
    "enable_model_summary", "enable_progress_bar", "fast_dev_run", "logger", "max_epochs",
    "max_time", "min_epochs", "num_nodes", "num_sanity_val_steps", "profiler", "strategy",
)  # fmt: skip
"""Arguments of a `Trainer` that say where and how long to run, and what to leave behind; the rest
is the user's. How long is the specification's business."""

_UNWANTED = ("Checkpoint", "ProgressBar", "ModelSummary", "BatchSizeFinder", "LearningRateFinder")


@dataclass
class Given:
    """What a user gave: a module or something that makes one, and what stands beside it."""

    target: str
    source: Any
    trainer: dict[str, Any] = field(default_factory=dict)
    datamodule: Any = None
    loader: Any = None
    script: Script | None = None
    loop: Loop | None = None

    @property
    def path(self) -> Path:
        """The user's file."""
        return path_of(self.target)

    @property
    def script_text(self) -> str:
        """The code of the script; empty if it is none."""
        return self.script.text if self.script is not None else ""

    @property
    def repeatable(self) -> bool:
        """Whether modules with initial weights of their own can be made."""
        return self.script is not None or not is_module(self.source)

    def fresh(self, *, seed: int) -> Any:
        """A module: made after seeding every generator, or a copy of the user's own."""
        if self.loop is not None:
            return copy.deepcopy(self.source)
        if not is_module(self.source):
            seed_everything(seed)
            with user_errors(self.path):
                module = _made(self.source, self.path)
        else:
            module = copy.deepcopy(self.source)
            seed_everything(seed)
        module = getattr(module, "_orig_mod", module)  # compiled modules hide the one they run
        if isinstance(module, Mapping):  # a function that returns the dictionary
            module = module.get("module")
            module = module if is_module(module) or not callable(module) else module()
        if not is_module(module):
            raise UsageError(no_module(self.target, self.source, module))
        return module

    def drawn(self, *, seed: int) -> Any:
        """A module with initial weights of its own."""
        if self.script is None:
            return self.fresh(seed=seed)
        seed_everything(seed)
        return self.script(seed=seed)["module"]


def _made(source: Any, path: Path) -> Any:
    try:
        inspect.signature(source).bind()
    except TypeError as error:
        name = getattr(source, "__name__", type(source).__name__)
        raise UsageError(
            f"{path}: {name} cannot be called without arguments: {error}; "
            f"name a function that makes the module"
        ) from None
    except ValueError:  # no signature to be had
        pass
    return source()


def load(target: str) -> Given:
    """Import `FILE.py:NAME` and sort out what it is."""
    if is_script(target):
        seed_everything(0)
        script = Script(target)
        caught = dict(script())
        return Given(target, caught.pop("module"), **caught, script=script)
    path = path_of(target)
    found = load_object(target)
    found = getattr(found, "_orig_mod", found)  # a compiled module hides the one it runs
    if not isinstance(found, Mapping | torch.nn.Module | type):
        found = _unless_it_needs_nothing(found, path, target)
    if not isinstance(found, Mapping):
        return Given(target, _usable(found, target))
    unknown = [str(key) for key in found if key not in KEYS]
    if unknown or "module" not in found:
        wrong = f"unknown key {unknown[0]!r}{did_you_mean(unknown[0], KEYS)}" if unknown else ""
        raise UsageError(
            f"{target}: {wrong or 'no key module'}; a dictionary has {', '.join(KEYS)}"
        )
    source = plain(found, target=target) if is_plain(found) else found["module"]
    return Given(
        target,
        _usable(source, target),
        dict(found.get("trainer") or {}),
        found.get("datamodule"),
        found.get("loader"),
    )


def _unless_it_needs_nothing(found: Any, path: Path, target: str) -> Any:
    """A function may return the dictionary: then it is that, and `module` has to make modules."""
    if not callable(found):
        return found
    seed_everything(0)
    with user_errors(path):
        made = found()
    if not isinstance(made, Mapping):
        return found
    if is_plain(made):
        rest = {key: value for key, value in made.items() if key not in ("loss", "optimizer")}
        return {**rest, "module": lambda: plain(found(), target=target)}
    module = made.get("module")
    if is_module(module):
        return {**made, "module": lambda: found()["module"]}
    return made


def _usable(source: Any, target: str) -> Any:
    if is_module(source) or callable(source):
        if isinstance(source, torch.nn.Module) and not is_module(source):
            raise UsageError(no_module(target, source, source))
        return source
    raise UsageError(
        f"{target} is a {type(source).__name__}: expected a LightningModule, a class or function "
        f"that makes one, or a dictionary with {', '.join(KEYS)}"
    )


def _lightnings() -> list[ModuleType]:
    """`lightning.pytorch` and, if the user's file imported it, its twin `pytorch_lightning`."""
    twin = sys.modules.get("pytorch_lightning")
    return [lightning.pytorch, *([twin] if twin is not None else [])]


def is_module(thing: Any) -> bool:
    """Whether it is a `LightningModule` of either package."""
    return any(isinstance(thing, package.LightningModule) for package in _lightnings())


def lightning_of(module: Any) -> ModuleType:
    """The package whose `Trainer` fits a module."""
    return next(p for p in _lightnings() if isinstance(module, p.LightningModule))


def overrides(module: Any, method: str) -> bool:
    """Whether the user wrote a method that `LightningModule` has."""
    base = getattr(lightning_of(module).LightningModule, method)
    return getattr(type(module), method) is not base or method in vars(module)


def seed_everything(seed: int) -> None:
    """Every generator that a user's code may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that users' code draws from
    torch.manual_seed(seed)


def left_out(given: Given) -> tuple[str, ...]:
    """What is given beside a module and takes no part in judged training, in words."""
    details = [
        f"the callback {type(callback).__name__}"
        for callback in own_callbacks(given)
        if _is_one_of(callback, _UNWANTED) and not _is_one_of(callback, ("ProgressBar", "Summary"))
    ]
    if given.datamodule is not None:
        details.append("the datamodule's hooks")
    accelerator = str(given.trainer.get("accelerator", "cpu"))
    if accelerator not in ("cpu", "auto"):
        details.append(f"the trainer's accelerator={accelerator!r}: check runs on the CPU")
    strategy = given.trainer.get("strategy", "auto")
    if strategy != "auto":
        details.append(f"the trainer's strategy={strategy!r}: check runs in one process")
    if given.script is not None:
        details += given.script.others
    return tuple(details)


def not_judged(given: Given) -> tuple[str, ...]:
    """What a trainer was told and cannot be had here, though it changes what is trained."""
    details = []
    precision = given.trainer.get("precision")
    if _half_on_gpu(precision):
        details.append(
            f"the trainer's precision={precision!r}: float16 by autocast needs a GPU, and check "
            f"runs on the CPU, so it was trained in float32"
        )
    for name in ("devices", "num_nodes"):
        asked = given.trainer.get(name)
        many = len(asked) if isinstance(asked, list | tuple) else asked
        if isinstance(many, int) and not isinstance(many, bool) and many > 1:
            details.append(
                f"the trainer's {name}={asked!r}: check trains on one device, where a batch is "
                f"not {many} batches"
            )
    return tuple(details)


def _half_on_gpu(precision: Any) -> bool:
    """What Lightning would replace by bfloat16 on a CPU, which is other arithmetic."""
    return str(precision) in ("16", "16-mixed")


def own_callbacks(given: Given) -> list[Any]:
    """The callbacks of the user's trainer."""
    own = given.trainer.get("callbacks") or []
    return list(own) if isinstance(own, list | tuple) else [own]


def _is_one_of(callback: Any, words: Sequence[str]) -> bool:
    return any(word in base.__name__ for base in type(callback).__mro__ for word in words)


_ONE_BATCH: dict[str, Any] = {
    "limit_train_batches": 1.0,
    "limit_val_batches": 0,
    "max_steps": -1,
    "overfit_batches": 0.0,
    "val_check_interval": 1.0,
}


def make_trainer(
    given: Given,
    module: Any,
    runtime: Runtime,
    *,
    epochs: int,
    one_batch: bool = False,
    without: Sequence[str] = (),
    first: Mapping[str, Callable[..., Any]] | None = None,
    last: Mapping[str, Callable[..., Any]] | None = None,
    **options: Any,
) -> Any:
    """A quiet `Trainer` with the user's arguments, our hooks before and after the user's.

    With `one_batch` it stops after the first training batch, and does not validate. Callbacks whose
    classes have one of the names `without` in theirs are left out.
    """
    package = lightning_of(module)
    logging.getLogger(package.__name__.partition(".")[0]).setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    unwanted = (*_UNWANTED, *without, *(["EarlyStopping"] if one_batch else []))
    after = dict(last or {})
    if one_batch:
        options |= _ONE_BATCH
        after["on_train_batch_end"] = _stopping(after.get("on_train_batch_end"))
    callbacks = [
        copy.deepcopy(callback)
        for callback in own_callbacks(given)
        if not _is_one_of(callback, unwanted)
    ]
    arguments = {key: value for key, value in given.trainer.items() if key not in OURS}
    if _half_on_gpu(arguments.get("precision")):
        del arguments["precision"]  # said in `not_judged`
    arguments |= {
        "max_epochs": epochs,
        "accelerator": runtime.accelerator,
        "devices": 1,
        "callbacks": [_callback(package, first), *callbacks, _callback(package, after)],
        # It takes anything, so that `self.logger.experiment.add_scalar(...)` works.
        "logger": package.loggers.logger.DummyLogger(),
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tempfile.gettempdir(),
        **options,
    }
    with user_errors(given.path):
        return package.Trainer(**arguments)


def _stopping(hook: Callable[..., Any] | None) -> Callable[..., Any]:
    def on_train_batch_end(trainer: Any, *arguments: Any) -> None:
        if hook is not None:
            hook(trainer, *arguments)
        trainer.should_stop = True

    return on_train_batch_end


def _callback(package: ModuleType, methods: Mapping[str, Callable[..., Any]] | None) -> Any:
    """A callback of a package, with functions for methods."""
    own = {name: staticmethod(method) for name, method in (methods or {}).items()}
    return type("Hooks", (package.Callback,), own)()
