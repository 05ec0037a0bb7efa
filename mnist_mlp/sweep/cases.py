"""The runs of a sweep: every backend with every seed and every combination of settings."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

from mnist_mlp.errors import UsageError
from mnist_mlp.registry import label_of, target_of
from mnist_mlp.settings import SHORT_NAMES, Resolved
from mnist_mlp.shown import one_line
from mnist_mlp.spec import MAX_SEED, Spec

MOST_RUNS = 1_000_000

_LEVELS = {"model.layer_sizes": 1, "model.activations": 1, "optimizer.schedule": 2}
"""How many levels of lists the value of a key has; of all other keys none. A value of `--set` with
one level more is a list of values to run."""

_RANGE = re.compile(r"(?P<first>\d+):(?P<end>\d+)")
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Case:
    """One run of a sweep.

    Parameters
    ----------
    name : str
        Its folder below the sweep's; no two cases have the same.
    backend : str
        A registered name or `module:Class`.
    settings : dict
        The keys that the sweep varies, besides the seed, with the values of this run.
    """

    name: str
    backend: str
    settings: dict[str, Any]
    spec: Spec

    @property
    def label(self) -> str:
        """Short name of the backend."""
        return label_of(self.backend)

    @property
    def seed(self) -> int:
        """The seed of its specification."""
        return self.spec.seed

    @property
    def group(self) -> str:
        """What runs that differ only in backend and seed share, as text: `batch_size=64`."""
        return in_words(self.settings)


def in_words(settings: dict[str, Any]) -> str:
    """Settings as text.

    >>> in_words({"training.batch_size": 64, "optimizer.name": "adam"})
    'batch_size=64 name=adam'
    """
    return " ".join(f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in settings.items())


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0:100` (without 100), `3,5,8`, or both.

    Raises
    ------
    UsageError
        The text is no list of seeds, or names a seed twice.

    >>> parse_seeds("0:3,7")
    [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        found = _RANGE.fullmatch(part)
        if found:
            first, end = int(found["first"]), int(found["end"])
            if end - first > MOST_RUNS:
                raise UsageError(f"--seeds {one_line(text)}: more than {MOST_RUNS:,} seeds")
            seeds += range(first, end)
        elif part.isascii() and part.isdigit():
            seeds.append(int(part))
        else:
            seeds.clear()
            break
    if not seeds or max(seeds) > MAX_SEED:
        raise UsageError(
            f"--seeds {one_line(text)}: expected numbers up to {MAX_SEED}, such as 0:100 (0 to 99) "
            f"or 3,5,8"
        )
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {one_line(text)}: names a seed twice")
    return seeds


def parse_shard(text: str) -> tuple[int, int]:
    """The number of a shard (from 1) and how many there are, from `i/n` (`UsageError`).

    >>> parse_shard("2/8")
    (2, 8)
    """
    part, _, whole = text.partition("/")
    numbers = [int(each) for each in (part, whole) if each.isascii() and each.isdigit()]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
        raise UsageError(f"--shard {one_line(text)}: expected i/n with i from 1 to n, such as 2/8")
    return numbers[0], numbers[1]


def combinations(assignments: Sequence[str]) -> list[tuple[list[str], dict[str, Any]]]:
    """Every combination of what `--set` lists: the assignments of each, and the keys that vary.

    Parameters
    ----------
    assignments : sequence of str
        `section.key=value`; a list of values, in TOML, is one value for each run.

    Raises
    ------
    UsageError
        A list is empty or holds a value twice.

    >>> combinations(["epochs=2", "batch_size=[64, 128]"])[1]
    (['epochs=2', 'training.batch_size=128'], {'training.batch_size': 128})
    """
    choices: list[list[tuple[str, dict[str, Any]]]] = []
    for text in assignments:
        key = text.partition("=")[0].strip()
        leaf = SHORT_NAMES.get(key, key)
        values = _listed(leaf, text)
        if values is None:
            choices.append([(text, {})])
            continue
        written = [json.dumps(value, default=str) for value in values]
        if not values or len(set(written)) < len(written):
            raise UsageError(
                f"--set {one_line(text)}: expected a list of different values to run, at least one"
            )
        choices.append(
            [(f"{leaf}={each}", {leaf: value}) for each, value in zip(written, values, strict=True)]
        )
    return [
        (
            [text for text, _ in chosen],
            {key: value for _, varied in chosen for key, value in varied.items()},
        )
        for chosen in product(*choices)
    ]


def _listed(leaf: str, text: str) -> list[Any] | None:
    """The values of an assignment that lists several; None if it has one, or is wrong."""
    try:
        value = tomllib.loads(f"value = {text.partition('=')[2]}")["value"]
    except (ValueError, RecursionError):
        return None  # `settings.resolve` reads bare words, and refuses the rest
    inner = value
    for _ in range(_LEVELS.get(leaf, 0)):
        if not isinstance(inner, list) or not inner:
            return None
        inner = inner[0]
    return value if isinstance(inner, list) else None


def cases_of(
    backends: Sequence[str],
    seeds: Sequence[int],
    grid: Sequence[tuple[Resolved, dict[str, Any]]],
) -> list[Case]:
    """All runs, seed by seed, so that what is compared is made one after the other.

    Parameters
    ----------
    backends : sequence of str
        Registered names or `module:Class`.
    seeds : sequence of int
    grid : sequence
        For each combination of settings its specification, and the keys that vary.

    Raises
    ------
    UsageError
        A backend is unknown or named twice, or there are too many runs.
    """
    targets = [target_of(backend) for backend in backends]
    if len(set(targets)) < len(targets):
        raise UsageError(f"each backend once, but got {' '.join(backends)}")
    if any("seed" in settings for _, settings in grid):
        raise UsageError("--set seed=[...]: list the seeds by --seeds")
    if len(targets) * len(seeds) * len(grid) > MOST_RUNS:
        raise UsageError(f"a sweep has at most {MOST_RUNS:,} runs: name fewer seeds or values")
    specs = [
        (resolved.spec.model_copy(update={"seed": seed}), settings)
        for seed in seeds
        for resolved, settings in grid
    ]
    return [
        Case(_name(label_of(backend), settings, spec.seed), backend, settings, spec)
        for spec, settings in specs
        for backend in backends
    ]


def _name(label: str, settings: dict[str, Any], seed: int) -> str:
    """The name of a folder. It depends on nothing else, so that a sweep can be made longer."""
    words = in_words(settings).split(" ") if settings else []
    plain = "-".join([label, *words, f"seed={seed}"])
    name = re.sub(r"[^A-Za-z0-9=._-]+", "-", plain)
    if name == plain and len(name) <= _LONGEST_NAME:
        return name
    # What is left out could make two names the same.
    digest = sha256(json.dumps(settings, default=str).encode()).hexdigest()[:12]
    middle = name[len(label) : _LONGEST_NAME].removesuffix(f"-seed={seed}")
    return f"{label}{middle}-{digest}-seed={seed}"


def _plain(value: Any) -> str:
    """A value as text without quotes and spaces."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
