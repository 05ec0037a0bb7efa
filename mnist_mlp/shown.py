"""Show values from anywhere in an error message, in one short printable line."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

LONGEST = 200
"""Most characters of a shown text. A file may hold a name of a megabyte, or 20,000 names."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlong = 30
_SHORT.maxlevel = 3


def shown(value: Any) -> str:
    """The `repr` of any value, shortened to a limited length and depth.

    >>> shown("x" * 5000)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = "a number of thousands of digits"
    return one_line(text, longest=120)


def one_line(text: str, *, longest: int = LONGEST) -> str:
    """A text on one line: shortened, and with control characters as escapes.

    >>> one_line("two\\nlines \\x1b[31m")
    'two lines \\\\x1b[31m'
    """
    # Cut before anything else is done with it, because it may be very long.
    whole = " ".join(text[: 2 * longest].split())
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in whole[:longest])
    return safe if len(text) <= longest else f"{safe}..."


def size(n_bytes: int) -> str:
    """A number of bytes for people, in binary units.

    >>> size(700), size(64 * 2**20), size(9_400_000_000)
    ('700 bytes', '64 MiB', '8.75 GiB')
    """
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        number = n_bytes / unit
        if number >= 1:
            return f"{number:.3g} {name}" if number < 100 else f"{number:,.0f} {name}"
    return f"{n_bytes} bytes"
