"""The network of a run, finished or not, after its last or its best epoch, with its results.

The weights of an unfinished run are those of its last whole epoch. Results on the test rows are
computed here if the folder does not hold them, which needs the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DivergedError, MnistMlpError, RunFolderError
from mnist_mlp.plan import make_plan
from mnist_mlp.reference import Array
from mnist_mlp.run.folder import BEST_FILE, Run
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.run.results import Results, reference_logits, results_of
from mnist_mlp.run.tensors import tensors_digest


class Network:
    """The network of a run after one of its epochs.

    Parameters
    ----------
    run : Run
        Any run with at least one whole epoch; opened with `complete=False`.
    best : bool
        Take the weights of the epoch with the lowest validation loss (`mnist_mlp.stopping`).
    dataset : callable, optional
        Loads the data set. It is called only if results have to be computed.

    Attributes
    ----------
    weights : dict of arrays
        By canonical name.
    history : list of HistoryRow
        Up to the epoch of the weights; empty for imported weights.
    which : str
        `final`, `last whole epoch` or `best`.

    Raises
    ------
    RunFolderError
        The run has no whole epoch, or its files are damaged.
    """

    def __init__(
        self, run: Run, *, best: bool = False, dataset: Callable[[], Dataset] | None = None
    ) -> None:
        self.run = run
        self._load = dataset
        self.which = "best" if best else "final" if run.is_complete else "last whole epoch"
        self.history: list[HistoryRow] = run.history
        if best and not self.history:
            raise RunFolderError(f"{run.path}: has no history, so no epoch is known to be the best")
        if not run.is_complete and not self.history:
            raise RunFolderError(
                f"{run.path}: the run ended before its first epoch was saved: continue it with "
                f"`train --resume {run.path}`"
            )
        self.weights = run.best_weights if best else run.weights
        if best:
            self.history = self.history[: run.best_epoch]
            if self.history[-1].weights_sha256 != tensors_digest(self.weights):
                raise RunFolderError(f"{run.path}/{BEST_FILE}: not the weights of {self.epoch}")
        elif not run.is_complete:
            self.history = self.history[: self._epoch_of_weights()]

    @property
    def epoch(self) -> int:
        """Number of the epoch; 0 for imported weights."""
        return len(self.history)

    @property
    def note(self) -> str:
        """What a user must know about these weights, in one line; empty if they are final."""
        if self.which == "final":
            return ""
        record, epochs = self.run.record, self.run.spec.training.epochs
        kind = "" if self.run.is_complete else f"unfinished run ({record.status or 'unknown'}): "
        best = ", the best by validation loss" if self.which == "best" else ""
        return f"{kind}these are its weights after epoch {self.epoch} of {epochs}{best}"

    @cached_property
    def results(self) -> Results:
        """Predictions and examples of the test rows: those of the folder, or computed here.

        Raises
        ------
        RunFolderError
            They have to be computed, and the data set is not the one that the run was trained on.
        DivergedError
            A computed logit is not finite.
        """
        stored = self.run.path / "predictions.npz", self.run.path / "examples.npz"
        # A run writes them after its last epoch, and `--resume` removes them.
        there = self.run.is_complete or all(path.exists() for path in stored)
        if there and self.epoch == len(self.run.history):
            return Results(self.run.predictions, self.run.examples)
        return self._computed()

    def _epoch_of_weights(self) -> int:
        """The epoch that the weights belong to, by their digest in the history.

        Other programs, and earlier versions of this one, may write both files one after the other.
        """
        digest = tensors_digest(self.weights)
        for row in reversed(self.history):
            if row.weights_sha256 == digest:
                return row.epoch
        raise RunFolderError(
            f"{self.run.path}/weights.safetensors: belongs to no epoch of history.csv"
        )

    def _computed(self) -> Results:
        run = self.run
        if self._load is None:
            raise RunFolderError(f"{run.path}/predictions.npz: missing")
        try:
            dataset = self._load()
        except MnistMlpError as error:
            raise RunFolderError(
                f"{run.path}: has no predictions of this epoch, and computing them needs its data "
                f"set ({run.dataset.name}): {error}"
            ) from None
        if dataset.digest != run.dataset.sha256:
            raise RunFolderError(
                f"{run.path}: trained on other data than is loaded here; name the folder of its "
                f"data set ({run.dataset.name}) with --data-dir"
            )
        plan = make_plan(run.spec, dataset)
        images: Array = dataset.flat()[plan.test_ids]
        logits = reference_logits(self.weights, run.spec, images)
        if not np.isfinite(logits).all():
            raise DivergedError(
                f"{run.path}: with its weights, a logit of the test rows is not finite"
            )
        return results_of(logits, test_ids=plan.test_ids, dataset=dataset)
