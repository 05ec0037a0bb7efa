"""What is known about each cause: `catalogue.toml`, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from mnist_mlp.errors import UsageError
from mnist_mlp.nearest import did_you_mean
from mnist_mlp.parity.evidence import Cause


@dataclass(frozen=True)
class Entry:
    """One cause.

    `title` says what it is; `rung` is where it shows first; `keras` and `torch` tell what either
    framework does by default; `shows` how it looks from outside; `fix_keras` and `fix_torch` are
    the line that mends it in either framework's own code.
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
    text = files("mnist_mlp.parity").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: Entry(name=name, **content) for name, content in tomllib.loads(text).items()}


def entry(name: str) -> Entry:
    """One cause; `UsageError` with the nearest known name."""
    known = catalogue()
    if name not in known:
        hint = did_you_mean(name, known)
        told = hint if "did you mean" in hint else "; see `explain --list`"
        raise UsageError(f"unknown cause {name!r}{told}")
    return known[name]


def described(cause: Cause, *, framework: str = "torch") -> Cause:
    """A cause with the catalogue's text and the cure for one framework."""
    known = catalogue().get(cause.name)
    if known is None:
        return cause
    fix = known.fix_keras if framework == "keras" else known.fix_torch
    return replace(cause, text=known.title, fix=fix)
