"""Write the report and the figures of a run, using only its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnist_mlp.errors import RunFolderError
from mnist_mlp.evaluate import Evidence, EvidenceError, History, evaluate
from mnist_mlp.reference import Tensors, kernel_name
from mnist_mlp.run.files import member, write_atomically
from mnist_mlp.run.folder import Run
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.run.network import Network
from mnist_mlp.run.results import Results

HEADINGS = {
    "mnist": None,
    "digits": "Embedded digits, not MNIST",
    "idx": "IDX files, not MNIST",
}
"""Heading of the report by name of the data set: it warns if the data is not MNIST."""


def evidence(run: Run) -> Evidence:
    """Read what the evaluator needs from a run folder.

    Raises
    ------
    RunFolderError
        A file is missing or damaged, or the files don't fit together.
    DivergedError
        A file holds NaN or infinity.
    """
    weights = run.weights  # first, because they confirm the size of the images and the classes
    results = Results(run.predictions, run.examples)
    return _evidence(run, weights, results, run.history, note="")


def evidence_of(network: Network, *, noted: bool = True) -> Evidence:
    """The same for any network of a run. If it is not the final one, the heading says so.

    With `noted` false, the heading leaves that to the caller.
    """
    note = network.note if noted else ""
    return _evidence(network.run, network.weights, network.results, network.history, note=note)


def _evidence(
    run: Run, weights: Tensors, results: Results, history: Sequence[HistoryRow], *, note: str
) -> Evidence:
    name = run.dataset.name
    about_data = HEADINGS.get(name, f"Data set {name}, not MNIST")
    try:
        return Evidence(
            **results.predictions,
            classes=run.dataset.classes,
            first_kernel=weights[kernel_name(0)],
            image_shape=run.image_shape,
            example_ids=results.examples["ids"],
            example_images=results.examples["images"],
            history=History(
                loss=[row.loss for row in history],
                accuracy=[row.accuracy for row in history],
                val_loss=[row.val_loss for row in history],
                val_accuracy=[row.val_accuracy for row in history],
            ),
            heading="; ".join(filter(None, (about_data, note))) or None,
        )
    except EvidenceError as error:
        raise RunFolderError(f"{run.path}: {error}") from None


def import_evaluator(*, figures: bool = True) -> None:
    """Import scikit-learn and Matplotlib now, while the worker imports its framework."""
    import sklearn.metrics  # noqa: F401

    import mnist_mlp.evaluate.report

    if figures:
        import mnist_mlp.evaluate.figures  # noqa: F401


def write_evaluation(run: Run, *, figures: bool = True) -> None:
    """Write `report.txt`, `report.json` and (unless told not to) `figures/`, or replace them.

    Raises
    ------
    RunFolderError
        As for `evidence`; or `figures` is a link, which may lead out of the run folder.
    """
    _write(run, evidence(run), figures=figures)


def evaluate_network(network: Network) -> Path:
    """The same for any network of a run; returns the folder of the report.

    That of the best network is the folder `best` in the run's own. Raises also as
    `Network.results`.
    """
    below = "best/" if network.which == "best" else ""
    _write(network.run, evidence_of(network), below=below)
    return network.run.path / below


def _write(run: Run, given: Evidence, *, below: str = "", figures: bool = True) -> None:
    for name, content in evaluate(given, figures=figures).items():
        write_atomically(member(run.path, f"{below}{name}"), content)
