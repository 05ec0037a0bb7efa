"""Export a run's network to another program's file format, reload it there and check it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import BackendError, RunFolderError, SetupError
from mnist_mlp.leftovers import MARK, temporary_folder
from mnist_mlp.readers.arrays import read_safetensors
from mnist_mlp.readers.regular import NAMED
from mnist_mlp.reference import Array, scale_pixels
from mnist_mlp.run.evaluation import evidence_of
from mnist_mlp.run.files import write_atomically
from mnist_mlp.run.folder import Run
from mnist_mlp.run.network import Network
from mnist_mlp.run.tensors import tensors_to_bytes
from mnist_mlp.worker.parent import Worker

Format = Literal["keras", "torch", "onnx", "safetensors"]

RELOAD = Path(__file__).with_name("reload.py")
"""The script that reloads an exported model. It is run in its own process, never imported."""

RELOAD_LIMIT_S = 600.0
"""Importing a framework and predicting the rows takes seconds, on a slow disk a minute."""

ONNX_PACKAGES = {"keras": ("onnx", "tf2onnx"), "torch": ("onnx", "onnxscript")}


@dataclass(frozen=True)
class Exported:
    """The written files, and how the reloaded model compares with the run on the test set.

    Of `rows` predictions, `different` ones differ. `largest_logit_gap` is the largest distance
    between a reloaded logit and the run's own. Both are 0 for safetensors, whose tensors are
    compared bit by bit instead.
    """

    files: tuple[Path, ...]
    rows: int
    different: int
    largest_logit_gap: float


def export_network(
    network: Network,
    kind: Format,
    *,
    out: Path,
    dataset: Dataset,
    exporter: str | None = None,
    verbose: bool = False,
) -> Exported:
    """Export the network of a run and check the export in a fresh process.

    Parameters
    ----------
    network : Network
    kind : {"keras", "torch", "onnx", "safetensors"}
    out : Path
        The folder for the files; it is made if it does not exist.
    exporter : {"keras", "torch"}, optional
        Framework whose ONNX exporter is used. The default is the framework of the run, or torch for
        a run of another backend.

    Raises
    ------
    SetupError
        The framework or a package is missing; the text names the command that installs it.
    RunFolderError
        A file of the run is missing or damaged, or `dataset` is not the data set that the run was
        trained on.
    DivergedError
        A file of the run holds NaN or infinity.
    BackendError
        The exported model predicts differently from the run.
    """
    run = network.run
    evidence_of(network)  # the same checks as in the other commands, before anything is written
    if kind == "safetensors":
        return _safetensors(network, out)
    pixels = _test_pixels(network, dataset)
    framework = kind if kind != "onnx" else exporter or _own_framework(run)
    if kind == "onnx":
        _require(("onnxruntime", *ONNX_PACKAGES[framework]))
    _make(out)
    # If the file to be written is a link, a framework would write to its target, which may be
    # anywhere. Moving a finished file there replaces the link itself.
    with (
        temporary_folder(out, prefix=f".export-{MARK}") as fresh,
        Worker(framework, accelerator="cpu", verbose=verbose) as worker,
    ):
        worker.open(run.spec)
        names = worker.export(network.weights, kind, fresh)
        for name in names:
            (fresh / name).replace(out / name)
    logits = _reloaded(kind, out / names[0], pixels)
    own = network.results.predictions["logits"]
    different = int((logits.argmax(axis=1) != own.argmax(axis=1)).sum())
    exported = Exported(
        files=tuple(out / name for name in names),
        rows=len(own),
        different=different,
        largest_logit_gap=float(np.abs(logits.astype(np.float64) - own).max()),
    )
    if different:
        raise BackendError(
            f"{exported.files[0]}: the reloaded model predicts {different} of {len(own)} test rows "
            f"differently from the run (largest logit gap {exported.largest_logit_gap:.3g}): "
            f"do not use it"
        )
    return exported


def _safetensors(network: Network, out: Path) -> Exported:
    file = out / "model.safetensors"
    write_atomically(file, tensors_to_bytes(network.weights))
    again = read_safetensors(file, NAMED)
    if any(not np.array_equal(again[name], tensor) for name, tensor in network.weights.items()):
        raise BackendError(f"{file}: reading it back gives other values than were written")
    return Exported((file,), len(network.results.predictions["ids"]), 0, 0.0)


def _test_pixels(network: Network, dataset: Dataset) -> Array:
    run = network.run
    if dataset.digest != run.dataset.sha256:
        raise RunFolderError(
            f"{run.path}: trained on other data than is loaded here; name the folder of its data "
            f"set ({run.dataset.name}) with --data-dir"
        )
    ids = network.results.predictions["ids"]
    if ids.max() >= len(dataset):
        raise RunFolderError(
            f"{run.path}/predictions.npz: ids has row {ids.max()}, but the data set has "
            f"{len(dataset)} rows"
        )
    images = dataset.flat()[ids]
    return scale_pixels(images, dtype=run.spec.training.precision)


def _own_framework(run: Run) -> str:
    return run.label if run.label in ONNX_PACKAGES else "torch"


def _require(packages: tuple[str, ...]) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"ONNX needs {' and '.join(missing)}, not installed here: "
            f"run pip install 'mnist-mlp[onnx]'"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"--out {folder}: {error.strerror}; choose another folder") from None


def _reloaded(kind: str, file: Path, pixels: Array) -> Array:
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "pixels.npy"), Path(folder, "logits.npy")
        np.save(given, pixels)
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(RELOAD), kind, str(file), str(given), str(found)],
                capture_output=True,
                text=True,
                # Not on a GPU: its TF32 arithmetic would add a logit gap of its own.
                env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
                timeout=RELOAD_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BackendError(
                f"{file}: the exported file was not reloaded within {RELOAD_LIMIT_S:.0f} s"
            ) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BackendError(f"{file}: the exported file cannot be reloaded: {last}")
        logits: Array = np.load(found)
        return logits
