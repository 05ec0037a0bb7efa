"""Output of the commands: text for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.network import Network
    from mnist_mlp.run.record import Metrics

_SHADES = " .:-=+*#%@"


def tell(text: str) -> None:
    """Say on stderr what is being done, so that a command that takes seconds is not silent."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print one strict JSON document (no NaN) on stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def summary(run: Run) -> str:
    """Specification, backend, device, data set, classification report and test metrics.

    A run folder of another program may lack some values, such as the device.
    """
    return _summary(run, run.report_text, run.metrics, rows=len(run.predictions["ids"]))


def network_summary(network: Network, report: str) -> str:
    """The same for any network of a run, with its own report."""
    results = network.results
    return _summary(network.run, report, results.metrics, rows=len(results.predictions["ids"]))


def _summary(run: Run, report: str, metrics: Metrics, *, rows: int) -> str:
    record, dataset = run.record, run.dataset
    where, threads = record.device or "device not recorded", record.threads
    if where == "cpu" and threads:
        where = f"cpu, {threads} thread{'s' if threads != 1 else ''}"
    ranks = record.devices * record.num_nodes
    if ranks > 1:
        where = f"{ranks} devices, each {where}"
    training = "" if dataset.train_rows is None else f"{dataset.train_rows:,} training and "
    return (
        f"{run.spec.name} by {run.label} ({where}), {dataset.name}: "
        f"{training}{rows:,} test rows\n\n"
        f"{report.rstrip()}\n\n"
        f"test loss {metrics.loss:.4f}, accuracy {metrics.accuracy:.4f}"
    )


def weights_document(network: Network) -> dict[str, Any]:
    """Which weights a command used, for `--json`."""
    return {
        "status": network.run.record.status,
        "weights": network.which,
        "epoch": network.epoch,
    }


def tell_note(network: Network) -> None:
    """Say on stderr if the weights are not the final ones of a complete run."""
    if network.note:
        tell(f"{network.run.path}: {network.note}")


def sketch(images: NDArray[np.uint8]) -> str:
    """Draw images (n, height, width) side by side as characters, two columns per pixel.

    Two columns, because a character is about twice as high as wide.
    """
    rows = []
    for line in np.concatenate(list(images), axis=1):
        rows.append("".join(_SHADES[value * len(_SHADES) // 256] * 2 for value in line.astype(int)))
    return "\n".join(row.rstrip() for row in rows if row.strip())
