"""How numbers and names are written on the page."""

from __future__ import annotations

from collections.abc import Sequence

NBSP = "\N{NO-BREAK SPACE}"


def percent(share: float, *, decimals: int = 2) -> str:
    """0.7256 as `72.56 %`."""
    return f"{100 * share:.{decimals}f}{NBSP}%"


def small(value: float) -> str:
    """A small number: `0`, `0.0012` or `2.3e-07`."""
    return f"{value:.2g}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `17,500 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def seconds(value: object) -> str:
    """A duration in seconds as text; `not recorded` if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not recorded"
    if value < 0.1:
        return f"{1000 * value:.1f}{NBSP}ms"
    return f"{value:.2f}{NBSP}s" if value < 100 else f"{value:,.0f}{NBSP}s"
