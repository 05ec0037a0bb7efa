"""What is known about each cause: `catalogue.toml`, read once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from mnist_mlp.errors import UsageError
from mnist_mlp.nearest import did_you_mean
from mnist_mlp.parity.findings import Cause
from mnist_mlp.spec import ACTIVATIONS, Spec


@dataclass(frozen=True)
class Entry:
    """One cause.

    `title` says what it is, and `rung` where it shows first. `keras` and `torch` say what each
    framework does by default. `shows` says how the cause looks from outside. `fix_keras` and
    `fix_torch` are the lines that fix it in each framework's own code.
    """

    name: str
    rung: str
    title: str
    keras: str
    torch: str
    shows: str
    fix_keras: str
    fix_torch: str


@cache
def catalogue() -> Mapping[str, Entry]:
    """Every cause by name, in the order of the ladder."""
    text = files("mnist_mlp.parity.causes").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: Entry(name=name, **content) for name, content in tomllib.loads(text).items()}


def entry(name: str) -> Entry:
    """One cause. An unknown name raises a `UsageError` that gives the nearest known one."""
    known = catalogue()
    if name not in known:
        hint = did_you_mean(name, known)
        advice = hint if "did you mean" in hint else "; see `explain --list`"
        raise UsageError(f"unknown cause {name!r}{advice}")
    return known[name]


def described(cause: Cause, *, framework: str = "torch", spec: Spec | None = None) -> Cause:
    """A cause with the catalogue's text, and its own fix or the catalogue's for one framework.

    `framework` may be a backend's name: `keras-torch` is Keras. If `spec` is given, the fix has its
    numbers instead of the tutorial's.
    """
    known = catalogue().get(cause.name)
    if known is None:
        return cause
    fix = known.fix_keras if framework.partition("-")[0] == "keras" else known.fix_torch
    fix = cause.fix or (fix if spec is None else in_numbers_of(spec, fix))
    return replace(cause, text=known.title, fix=fix)


def in_numbers_of(spec: Spec, fix: str) -> str:
    """A fix with the numbers of a specification. In the catalogue, they are the tutorial's."""
    optimizer, hidden = spec.optimizer, spec.model.activations[0]
    numbers = {
        r"\b(SGD|Adam|AdamW)\(0\.01\b": rf"\g<1>({optimizer.learning_rate:g}",
        r"\blr=0\.01\b": f"lr={optimizer.learning_rate:g}",
        r"\blearning_rate=0\.01\b": f"learning_rate={optimizer.learning_rate:g}",
        r"\bbatch_size=128\b": f"batch_size={spec.training.batch_size}",
        r"\bDense\(128\b": f"Dense({spec.model.layer_sizes[1]}",
        r"\bLinear\(784, 128\b": "Linear({}, {}".format(*spec.model.layer_sizes[:2]),
    }
    if optimizer.momentum:
        numbers[r"\bmomentum=0\.9\b"] = f"momentum={optimizer.momentum:g}"
    if optimizer.weight_decay:
        numbers[r"\bweight_decay=(1e-4|0\.0001)\b"] = f"weight_decay={optimizer.weight_decay:g}"
        product = f"{optimizer.learning_rate:g} * {optimizer.weight_decay:g}"
        numbers[r"\b0\.01 \* 1e-4\b"] = product
    if optimizer.clip_norm:
        clip = rf"\g<1>={optimizer.clip_norm:g}"
        numbers[r"\b(global_clipnorm|gradient_clip_val|max_norm)=1\.0\b"] = clip
    if hidden in ACTIVATIONS and hidden != "sigmoid":
        numbers[r'\bactivation="sigmoid"'] = f'activation="{hidden}"'
    for pattern, number in numbers.items():
        fix = re.sub(pattern, number, fix)
    return fix
