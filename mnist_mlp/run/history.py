"""The history of a run: one row of numbers per epoch, and its file `history.csv`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class HistoryRow:
    """One line of `history.csv`; `weights_sha256` is the `tensors_digest` after the epoch."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    weights_sha256: str


HISTORY_COLUMNS = tuple(field.name for field in fields(HistoryRow))


HEADING = (",".join(HISTORY_COLUMNS) + "\n").encode()
"""The first line of `history.csv`."""


def line_bytes(row: HistoryRow) -> bytes:
    """A line of `history.csv`; numbers keep all their digits."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(astuple(row))
    return text.getvalue().encode()


def history_bytes(rows: Iterable[HistoryRow]) -> bytes:
    """The content of `history.csv`."""
    return b"".join([HEADING, *map(line_bytes, rows)])


def history_rows(text: str) -> list[HistoryRow]:
    """Read the text of a `history.csv`; `ValueError` if it is damaged."""
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    missing = [column for column in HISTORY_COLUMNS if column not in header]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    return [_history_row(header, line) for line in lines if line]


def _history_row(header: list[str], line: list[str]) -> HistoryRow:
    """Read one line, whose columns may be in any order."""
    if len(line) != len(header):
        raise ValueError(f"a line of {len(line)} columns below {len(header)} headings")
    row = dict(zip(header, line, strict=True))
    digest = row["weights_sha256"]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a SHA-256")
    return HistoryRow(
        epoch=int(row["epoch"]),
        **{key: float(row[key]) for key in HISTORY_COLUMNS[1:6]},
        weights_sha256=digest,
    )
