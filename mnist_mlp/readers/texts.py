"""Read UTF-8 text, JSON and TOML."""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from mnist_mlp.readers.regular import Origin, parsed, read_bytes
from mnist_mlp.shown import shown

TEXT_LIMIT = 16 * 2**20
"""Most bytes of a text. The largest real one is the history of 100,000 epochs, with 15 MB."""

TOML_LIMIT = 16 * 2**10
"""Most bytes of a TOML file. A specification takes one or two thousand. The standard library's
reader needs quadratic time for a long dotted key: about a second for one of this length."""

MOST_LEVELS = 50
"""Deepest nesting of JSON. Whatever walks through a value later must not run out of stack."""


def read_text(path: Path, origin: Origin, *, limit: int = TEXT_LIMIT) -> str:
    """Read a UTF-8 text, with or without a byte order mark."""
    content = read_bytes(path, origin, limit=limit)
    # Editors on Windows write the mark. It is no part of the text.
    return parsed(path, origin, "readable UTF-8 text", lambda: content.decode("utf-8-sig"))


def read_json(path: Path, origin: Origin) -> Any:
    """Read a JSON value.

    Stricter than the standard library: NaN, infinity, a whole number of more than 64 bits, a key
    that appears twice, a lone surrogate and nesting beyond `MOST_LEVELS` are refused.
    """
    text = read_text(path, origin)
    return parsed(path, origin, "readable JSON", lambda: _json(text))


def read_toml(path: Path, origin: Origin) -> dict[str, Any]:
    """Read a TOML file as a nested dictionary."""
    text = read_text(path, origin, limit=TOML_LIMIT)
    return parsed(path, origin, "valid TOML", lambda: tomllib.loads(text))


def _json(text: str) -> Any:
    value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    _check(value, MOST_LEVELS)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Programs disagree which of two equal keys counts, so none does."""
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {shown(counts.most_common(1)[0][0])} appears twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check(value: Any, levels: int) -> None:
    if levels == 0:
        raise ValueError(f"nested too deeply: more than {MOST_LEVELS} levels")
    if isinstance(value, dict):
        for key, part in value.items():
            _check(key, levels)
            _check(part, levels - 1)
    elif isinstance(value, list):
        for part in value:
            _check(part, levels - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large for float64")
    elif isinstance(value, int) and value.bit_length() > 64:
        raise ValueError(f"a whole number has more than 64 bits: {shown(value)}")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{shown(value)} holds a lone surrogate") from None
