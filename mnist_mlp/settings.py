"""Merge the sources of a specification: default < file < environment < `--set` < option.

The environment variable of a key is `MNIST_MLP_` + section + key (`MNIST_MLP_TRAINING_EPOCHS=2`).
A key that has its own option also has a variable of that name (`MNIST_MLP_EPOCHS=2`). Values of
`--set` and of the environment are read as TOML; a bare word is read as a string.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_mlp.nearest import did_you_mean
from mnist_mlp.readers.regular import Origin
from mnist_mlp.readers.texts import read_toml
from mnist_mlp.shown import one_line, shown
from mnist_mlp.spec import Spec, SpecError, known_keys, leaf_keys, parse_spec, repeated_activations

SHORT_NAMES = {
    "seed": "seed",
    "dataset": "data.dataset",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "precision": "training.precision",
    "learning_rate": "optimizer.learning_rate",
}
"""Keys that have their own option (`--epochs`), by the name of that option."""

OTHER_VARIABLES = ("MNIST_MLP_DATA", "MNIST_MLP_CACHE")
"""Environment variables that are not keys of the specification."""

_PREFIX = "MNIST_MLP_"

SETTINGS = Origin(SpecError, absent="no such configuration file")
"""A configuration file, which the user named."""

_Source = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Resolved:
    """A specification, and the source of the value of each of its keys (`training.epochs`)."""

    spec: Spec
    origins: Mapping[str, str]


def resolve(
    *,
    base: Spec | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge the sources of a specification.

    Parameters
    ----------
    base : Spec, optional
        Replaces the defaults.
    config : Path, optional
        A TOML file.
    assignments : sequence of str
        `section.key=value`, as given to `--set`; later ones override earlier ones.
    flags : mapping
        Values of the named options by `section.key`; `None` means "not given". They override
        `--set`.
    environ : mapping
        Environment variables; by default those of the process.

    Raises
    ------
    SpecError
        An unknown key, a wrong type, or values that don't fit together. The text names the source.
    """
    given = {leaf: value for leaf, value in (flags or {}).items() if value is not None}
    # From weakest to strongest: a later source overrides an earlier one.
    levels: list[list[_Source]] = [
        [("default", _leaves((base or Spec()).model_dump(mode="json"), origin="default"))],
        [] if config is None else [(str(config), _leaves(read_config(config), origin=str(config)))],
        _from_environment(os.environ if environ is None else environ),
        [(f"--set {one_line(text)}", _assignment(text)) for text in assignments],
        [(_option(leaf), {leaf: value}) for leaf, value in given.items()],
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    rank: dict[str, int] = {}
    for level, sources in enumerate(levels):
        for origin, leaves in sources:
            for leaf, value in leaves.items():
                values[leaf], origins[leaf], rank[leaf] = value, origin, level
    # Layer sizes from a stronger source than the activations may ask for another number of them.
    if rank["model.layer_sizes"] > rank["model.activations"]:
        _repeat_activations(values, origins)
    return Resolved(spec=parse_spec(_nested(values), origins=origins), origins=origins)


def read_config(path: Path) -> dict[str, Any]:
    """Read a specification file as a nested dictionary; `name` defaults to the file's stem."""
    return {"name": path.stem, **read_toml(path, SETTINGS)}


def _leaves(nested: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Flatten to `section.key`; unknown keys are refused."""
    leaves: dict[str, Any] = {}
    for key, value in nested.items():
        if key not in known_keys():
            raise SpecError(f"{origin}: unknown key {shown(key)}{did_you_mean(key, known_keys())}")
        inner = known_keys((key,))
        if not inner:
            leaves[key] = value
        elif not isinstance(value, Mapping):
            raise SpecError(
                f"{origin}: {key!r} is a section ([{key}]), not a value: {shown(value)}"
            )
        else:
            for leaf in value:
                if leaf not in inner:
                    hint = did_you_mean(leaf, inner)
                    raise SpecError(f"{origin}: unknown key {shown(f'{key}.{leaf}')}{hint}")
            leaves |= {f"{key}.{leaf}": content for leaf, content in value.items()}
    return leaves


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for leaf, value in leaves.items():
        section, _, key = leaf.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[key] = value
    return nested


def _toml_value(text: str, *, origin: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
        if len(document) == 1:  # a line break would let in more keys
            return document["value"]
    except (ValueError, RecursionError):  # ValueError: not TOML, or a number of 5,000 digits
        # A bare word, such as `relu` or `leaky_relu(0.2)`: nobody wants to quote it in a shell.
        if text and all(character.isalnum() or character in "_.-()" for character in text):
            return text
    raise SpecError(f"{origin}: {shown(text)} is not a TOML value")


def _assignment(text: str) -> dict[str, Any]:
    origin = f"--set {one_line(text)}"
    leaf, equals, value = text.partition("=")
    leaf = leaf.strip()
    if not equals:
        raise SpecError(f"{origin}: expected section.key=value")
    leaf = SHORT_NAMES.get(leaf, leaf)
    if leaf not in leaf_keys():
        raise SpecError(f"{origin}: unknown key {shown(leaf)}{did_you_mean(leaf, leaf_keys())}")
    return {leaf: _toml_value(value.strip(), origin=origin)}


def _from_environment(environ: Mapping[str, str]) -> list[_Source]:
    short = {_PREFIX + name.upper(): leaf for name, leaf in SHORT_NAMES.items()}
    full = {_PREFIX + leaf.replace(".", "_").upper(): leaf for leaf in leaf_keys()}
    known = {**short, **full}
    found = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in known:
            raise SpecError(
                f"environment: unknown variable {one_line(variable)}"
                f"{did_you_mean(variable, [*known, *OTHER_VARIABLES])}"
            )
        value = _toml_value(text, origin=f"environment {variable}")
        found.append((f"environment {variable}", {known[variable]: value}))
    return found


def _option(leaf: str) -> str:
    return "--" + leaf.rpartition(".")[2].replace("_", "-")


def _repeat_activations(values: dict[str, Any], origins: dict[str, str]) -> None:
    sizes, activations = values["model.layer_sizes"], values["model.activations"]
    if not (isinstance(sizes, list) and isinstance(activations, list) and activations):
        return  # `parse_spec` refuses it, with a better message
    hidden = activations[0]
    if hidden == "softmax":
        hidden = Spec().model.activations[0]
    values["model.activations"] = repeated_activations(hidden, layers=max(len(sizes) - 1, 1))
    origins["model.activations"] = f"{hidden} repeated, as {origins['model.layer_sizes']} asks"
