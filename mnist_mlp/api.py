"""The Python interface: functions and arguments have the names that the command line uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_mlp.contract import Devices
from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.divergence import telling_where
from mnist_mlp.errors import UsageError
from mnist_mlp.nearest import did_you_mean
from mnist_mlp.registry import label_of, target_of
from mnist_mlp.run.folder import Run, is_run_argument
from mnist_mlp.settings import SHORT_NAMES, resolve
from mnist_mlp.spec import Spec
from mnist_mlp.training import default_folder
from mnist_mlp.training import resume as _resume
from mnist_mlp.training import train as _train

if TYPE_CHECKING:
    from mnist_mlp.parity.check.port import Checked
    from mnist_mlp.parity.outcome import Outcome

RunSource = str | Path | Run


def train(
    spec: Spec | str | Path | None = None,
    *,
    backend: str = "keras",
    dataset: Dataset | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    accelerator: str = "auto",
    threads: int = 1,
    devices: int = 1,
    overwrite: bool = False,
    timeout: float | None = None,
    **settings: Any,
) -> Run:
    """Train one backend and write a run folder.

    Parameters
    ----------
    spec : Spec, or path of a TOML file, optional
        The default is the tutorial.
    backend : str
        A registered name or `module:Class`.
    dataset : Dataset, optional
        By default, the data set that the specification names is loaded, from `data_dir` if given.
    out : path, optional
        The run folder; `runs/<time>-<spec>-<backend>` by default.
    accelerator : {"auto", "cpu", "gpu"}
    threads : int
        Number of CPU threads, of each process; fixed before the framework starts.
    devices : int
        GPUs, or processes on a CPU, that share each batch (`docs/devices.md`).
    overwrite : bool
        Replace a run that `out` already holds.
    timeout : float, optional
        Most seconds that the backend may go on without a report: a step, an epoch, a result. By
        default there is no limit. `TimeLimitError` if it takes longer.
    **settings
        `epochs`, `batch_size`, `learning_rate`, `seed`, `precision`. They override `spec`.

    Returns
    -------
    Run
        The finished run folder.

    Examples
    --------
    >>> from mnist_mlp import load_dataset, train
    >>> run = train(
    ...     backend="numpy", dataset=load_dataset("digits"), epochs=1, batch_size=500, out="numpy"
    ... )
    >>> run.path.name, len(run.history), run.spec.training.batch_size
    ('numpy', 1, 500)
    """
    chosen = specification(spec, settings)
    rows = dataset or (lambda: _rows(chosen, data_dir))
    with telling_where(chosen, rows):
        return _train(
            chosen,
            backend=backend,
            dataset=rows,
            out=Path(out) if out else lambda: default_folder(chosen, label_of(backend)),
            accelerator=accelerator,
            threads=threads,
            devices=Devices(devices),
            overwrite=overwrite,
            timeout=timeout,
        )


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    dataset: Dataset | None = None,
    data_dir: str | Path | None = None,
) -> Run:
    """Go on with an unfinished run, or train a complete one for more epochs.

    Parameters
    ----------
    run : path
        A run folder.
    epochs : int, optional
        The new total number of epochs; by default, that of the run.
    dataset, data_dir
        As for `train`. It must be the data set that the run was trained on.

    Returns
    -------
    Run
        The finished run folder. It has the same bits as if it had been trained at once.

    Examples
    --------
    >>> from mnist_mlp import load_dataset, resume, train
    >>> data = load_dataset("digits")
    >>> run = train(backend="numpy", dataset=data, epochs=1, batch_size=500, out="longer")
    >>> len(resume("longer", dataset=data, epochs=2).history)
    2
    """
    from mnist_mlp.parity.compare.trace import trace_files

    path = Path(run)
    chosen = specification(Run(path, complete=False).spec, {"epochs": epochs})
    rows = dataset or (lambda: _rows(chosen, data_dir))
    with telling_where(chosen, rows):
        return _resume(path, chosen, dataset=rows, keep=trace_files)


def compare(
    a: RunSource,
    b: RunSource,
    *,
    spec: Spec | str | Path | None = None,
    dataset: Dataset | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    proof: bool = False,
    static: bool = False,
    trust_backends: Sequence[str] = (),
    timeout: float | None = None,
    **settings: Any,
) -> Outcome:
    """Compare two sides. A side is a run folder, or a backend that is trained first.

    Parameters
    ----------
    a, b : Run, path, or name of a backend
        A string means a run folder if it holds a path separator or names a folder with a
        `run.json`; otherwise it means a backend.
    spec, dataset, data_dir, **settings
        As for `train`.
    out : path, optional
        Folder for the runs that are trained here.
    proof, static : bool
        As the options of the command line.
    trust_backends : sequence of str
        Unregistered backends, as `module:Class`, whose code may run if a run folder names them.
        Backends that `a` or `b` name directly are always trusted.
    timeout : float, optional
        As for `train`.

    Returns
    -------
    Outcome
        Its `verdict`, `breaks` and `document()`.
    """
    from mnist_mlp.parity.compare.runs import compare_runs

    sides = [_existing(side) for side in (a, b)]
    folders = [side for side in sides if side is not None]
    chosen = specification(spec, settings) if len(folders) < 2 else folders[0].spec
    rows = dataset or _rows(chosen, data_dir)
    parent = Path(out) if out else default_folder(chosen, "compare")
    runs: list[Run] = []
    for side, name in zip(sides, (a, b), strict=True):
        if side is None:
            label = label_of(str(name))
            label = label if label not in {run.path.name for run in runs} else f"{label}-2"
            side = train(  # noqa: PLW2901
                chosen, backend=str(name), dataset=rows, out=parent / label, timeout=timeout
            )
        runs.append(side)
    first, second = runs
    named = [str(name) for side, name in zip(sides, (a, b), strict=True) if side is None]
    return compare_runs(
        first,
        second,
        dataset=rows,
        always_prove=proof,
        static=static,
        trusted=[target_of(backend) for backend in (*named, *trust_backends)],
        timeout=timeout,
    )


def check(
    port: Any,
    original: Any = None,
    *,
    framework_a: str | None = None,
    framework_b: str | None = None,
    spec: Spec | str | Path | None = None,
    dataset: Dataset | None = None,
    data_dir: str | Path | None = None,
    image_shape: Sequence[int] = (),
    cost: bool = False,
    timeout: float | None = None,
    in_place: bool = False,
    **settings: Any,
) -> Checked:
    """Judge a port against its original or a specification.

    Parameters
    ----------
    port, original : str, or any object
        `FILE.py:NAME`, or a script that trains (`FILE.py`, `FILE.ipynb`); or what stands under such
        a name, as in a notebook: a model or module, a class or function that makes one, or a
        dictionary with one. Objects are pickled into a process of their framework. Without
        `original`, the port is judged against `spec`.
    framework_a, framework_b : {"keras", "torch"}, optional
        Of the original and of the port, where it cannot be told from what they import.
    spec, dataset, data_dir, **settings
        As for `train`.
    image_shape : sequence of int
        Shape of one input as the port expects it, without the batch axis; flat by default.
    cost : bool
        Also train both sides freely, as they are, and keep what each epoch reports.
    timeout : float, optional
        Most seconds that a user's code may run without a report. By default there is no limit.
    in_place : bool
        Let stay what the user's code writes. By default, files are as they were afterwards.

    Returns
    -------
    Checked
        `outcome` is the verdict, `spec` the specification that the port was judged against, `cost`
        the histories of both sides. A notebook shows the verdict, the place, the cause, its cure
        and the curves.

    Warns
    -----
    UserWarning
        torch and TensorFlow are both loaded in this process.
    """
    from mnist_mlp.parity.check.live import target_of
    from mnist_mlp.parity.check.port import check_port

    chosen = specification(spec, settings)
    return check_port(
        target_of(port, framework=framework_b),
        spec=chosen,
        dataset=dataset or _rows(chosen, data_dir),
        original=None
        if original is None
        else target_of(original, framework=framework_a, option="framework_a"),
        image_shape=tuple(image_shape),
        cost=cost,
        timeout=timeout,
        in_place=in_place,
    )


def load_run(path: str | Path) -> Run:
    """Open a finished run folder.

    Raises
    ------
    RunFolderError
        The folder is missing, unfinished or damaged. It is a `DataError`.

    Examples
    --------
    >>> load_run("no-such-run")
    Traceback (most recent call last):
    mnist_mlp.errors.RunFolderError: no-such-run: no such run folder
    """
    return Run(Path(path))


def specification(
    spec: Spec | str | Path | None, settings: Mapping[str, Any], *, environ: bool = False
) -> Spec:
    """Merge a specification with settings; `UsageError` for a setting that does not exist.

    Environment variables are read only with `environ`: a call from Python must not depend on them.

    >>> specification(None, {"epochs": 3, "learning_rate": 0.1}).optimizer.learning_rate
    0.1
    """
    for name in settings:
        if name not in SHORT_NAMES:
            raise UsageError(f"unknown setting {name!r}{did_you_mean(name, SHORT_NAMES)}")
    flags = {SHORT_NAMES[name]: value for name, value in settings.items()}
    sources: Mapping[str, str] | None = None if environ else {}
    if isinstance(spec, Spec):
        return resolve(base=spec, flags=flags, environ=sources).spec
    return resolve(config=Path(spec) if spec else None, flags=flags, environ=sources).spec


def _existing(side: RunSource) -> Run | None:
    if isinstance(side, Run):
        return side
    if isinstance(side, Path) or is_run_argument(side):
        return Run(Path(side))
    return None


def _rows(spec: Spec, data_dir: str | Path | None) -> Dataset:
    return load_dataset(spec.data.dataset, data_dir=Path(data_dir) if data_dir else None)
