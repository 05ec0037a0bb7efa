"""What the settings of two layers differ in, and how that is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mnist_mlp.ports.pair import PairLayer


def told(name: str, a: Any, b: Any, where: str) -> str:
    """`epsilon 1e-05 instead of 0.001 in bn1: batch_norm`; `b` is the port's."""
    return f"{name} {short(b)} instead of {short(a)} in {where}"


def short(value: Any) -> str:
    """A number to six digits, all else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def differing(a: PairLayer, b: PairLayer) -> Iterator[tuple[str, Any, Any]]:
    """Settings that both have, with other values; axes of another number are not comparable."""
    for name, value in a.settings.items():
        if name not in b.settings or same(value, b.settings[name]):
            continue
        other = b.settings[name]
        if isinstance(value, tuple) and isinstance(other, tuple) and len(value) != len(other):
            continue
        yield name, value, other


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal; numbers but for their rounding."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-12 * max(abs(a), abs(b))
    return bool(a == b)
