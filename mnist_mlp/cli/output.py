"""Output of the commands: text for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mnist_mlp.run.folder import Run

_SHADES = " .:-=+*#%@"


def print_json(value: Any) -> None:
    """Print one strict JSON document (no NaN) on stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def summary(run: Run) -> str:
    """Specification, backend, device, data set, classification report and test metrics.

    A run folder of another program may lack some values, such as the device.
    """
    record, dataset, metrics = run.record, run.dataset, run.metrics
    where, threads = record.device or "device not recorded", record.threads
    if where == "cpu" and threads:
        where = f"cpu, {threads} thread{'s' if threads != 1 else ''}"
    training = "" if dataset.train_rows is None else f"{dataset.train_rows:,} training and "
    return (
        f"{run.spec.name} by {run.label} ({where}), {dataset.name}: "
        f"{training}{len(run.predictions['ids']):,} test rows\n\n"
        f"{run.report_text.rstrip()}\n\n"
        f"test loss {metrics.loss:.4f}, accuracy {metrics.accuracy:.4f}"
    )


def sketch(images: NDArray[np.uint8]) -> str:
    """Draw images (n, height, width) side by side as characters, two columns per pixel.

    Two columns, because a character is about twice as high as wide.
    """
    rows = []
    for line in np.concatenate(list(images), axis=1):
        rows.append("".join(_SHADES[value * len(_SHADES) // 256] * 2 for value in line.astype(int)))
    return "\n".join(row.rstrip() for row in rows if row.strip())
