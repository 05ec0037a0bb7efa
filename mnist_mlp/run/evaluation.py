"""Write the report and the figures of a run, using only its folder."""

from __future__ import annotations

from mnist_mlp.errors import RunFolderError
from mnist_mlp.evaluate import Evidence, EvidenceError, History, evaluate
from mnist_mlp.reference import kernel_name
from mnist_mlp.run.files import member, write_atomically
from mnist_mlp.run.folder import Run

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
    dataset = run.dataset
    history = run.history
    try:
        return Evidence(
            **run.predictions,
            classes=dataset.classes,
            first_kernel=run.weights[kernel_name(0)],
            image_shape=run.image_shape,
            example_ids=run.examples["ids"],
            example_images=run.examples["images"],
            history=History(
                loss=[row.loss for row in history],
                accuracy=[row.accuracy for row in history],
                val_loss=[row.val_loss for row in history],
                val_accuracy=[row.val_accuracy for row in history],
            ),
            heading=HEADINGS.get(dataset.name, f"Data set {dataset.name}, not MNIST"),
        )
    except EvidenceError as error:
        raise RunFolderError(f"{run.path}: {error}") from None


def import_evaluator() -> None:
    """Import scikit-learn and Matplotlib now, while the worker imports its framework."""
    import mnist_mlp.evaluate.figures
    import mnist_mlp.evaluate.report  # noqa: F401


def write_evaluation(run: Run) -> None:
    """Write `report.txt`, `report.json` and `figures/`, or replace them.

    Raises
    ------
    RunFolderError
        As for `evidence`; or `figures` is a link, which may lead out of the run folder.
    """
    for name, content in evaluate(evidence(run)).items():
        write_atomically(member(run.path, name), content)
