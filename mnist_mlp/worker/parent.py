"""The parent's side of a worker: start a backend in its own process, and call it.

There are three reasons for a process per backend. A process that loads both TensorFlow and a CUDA
build of torch aborts. TensorFlow keeps the GPU's memory until its process ends. Thread counts can
only be set before a framework starts. So every backend runs in a child process
(`mnist_mlp.worker.child`), and the parent never imports a framework.

Messages are pickles over the child's stdin and stdout. This is safe because the child is our own
program, started by us.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from mnist_mlp import errors, streams
from mnist_mlp.contract import (
    Capabilities,
    Devices,
    Draws,
    Environment,
    EpochRecord,
    Fallback,
    FitPath,
    Progress,
    Runtime,
    State,
    StepRecord,
    TrainingData,
)
from mnist_mlp.leftovers import temporary_folder
from mnist_mlp.plan import Plan, ReceivedData
from mnist_mlp.ports.inputs import Inputs
from mnist_mlp.ports.journal import JOURNAL
from mnist_mlp.ports.live import Live
from mnist_mlp.ports.pair import PairFacts, PairJob, PairStep
from mnist_mlp.ports.pair_rows import PairRows, RunLength, WholeRun
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import (
    AskedStates,
    PortDescription,
    PortEpoch,
    PortFacts,
    PortJob,
    PortStep,
)
from mnist_mlp.ports.reported import Reports
from mnist_mlp.ports.script import ARGUMENTS, MODEL
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.registry import installed, label_of, target_of
from mnist_mlp.spec import Spec
from mnist_mlp.worker.warm import ForkedProcess, environment_of_worker, forked
from mnist_mlp.worker.watch import Watch, log

# Top-level packages whose types may occur in a message.
_MESSAGE_PACKAGES = ("_codecs", "builtins", "mnist_mlp", "numpy")

LAST_WORDS = 2**16
"""How many bytes of what a child printed are looked at after its death."""

TEMPORARY = "mnist_mlp-worker-"
"""Beginning of the name of a worker's folder for temporary files."""

END_S = 10.0
"""How long to wait for the end of a killed child, in seconds. It may hang in the kernel."""

ASKING = "ask_"
"""Beginning of the names of callbacks whose answer is sent to the child."""

ANSWER = "answer"
"""The message with such an answer."""

NO_PROGRESS = Progress(epoch=lambda _: None)


@dataclass(frozen=True)
class Opened:
    """The result of `open`: device, flags, versions, and how long it took in seconds."""

    runtime: Runtime
    device: str
    environment: Environment
    flags: Mapping[str, Any]
    seconds: float


def isolated(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules in its own process.

    `-P` keeps the working directory out of the import path. Otherwise a file `numpy.py` there would
    be imported instead of NumPy.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


class _Unpickler(pickle.Unpickler):
    """Reads a message, and refuses types of a framework: they would import the framework here."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up NumPy's types and our own; `BackendError` for all others."""
        if module.partition(".")[0] not in _MESSAGE_PACKAGES:
            raise errors.BackendError(
                f"the backend returned a {module}.{name}: "
                f"it may only return NumPy arrays, Python numbers and strings"
            )
        return super().find_class(module, name)


def ignore(content: Any) -> None:
    """Do nothing: the callback of calls that report no progress."""
    del content


class Worker:
    """A running backend with the methods of `contract.Backend`. Use it as a context manager.

    Parameters
    ----------
    backend : str
        A registered name or `module:Class`.
    accelerator : {"auto", "cpu", "gpu"}
        With `cpu` the child cannot see a GPU at all.
    threads : int
        Number of CPU threads for the framework and for the BLAS library that it uses.
    fit_path : {"fast", "plain"}
        How `fit` runs: many steps per framework call, or one.
    devices : Devices, optional
        How many devices train together; one by default.
    verbose : bool
        Show on stderr what the framework prints. Otherwise its last line is kept for error texts.
    timeout : float, optional
        Most seconds that a call may go on without a report: an epoch, a step, its result. By
        default there is no limit, and a message tells of long silence.
    arguments : sequence of str
        What a user's script finds in `sys.argv`.
    model : str
        Which of the models that a user's script trains is meant; any by default.
    live : Live, optional
        The user's model, where it is an object of this process and stands in no file.
    journal : Path, optional
        Where the files are put aside that the user's code changes (`ports.journal`).

    Raises
    ------
    UsageError
        The backend is unknown.
    SetupError
        No process can be started, or no temporary file can be made.
    """

    def __init__(
        self,
        backend: str,
        *,
        accelerator: str = "auto",
        threads: int = 1,
        fit_path: FitPath = "fast",
        devices: Devices = Devices(),  # noqa: B008 - it is frozen
        verbose: bool = False,
        timeout: float | None = None,
        arguments: Sequence[str] = (),
        model: str = "",
        live: Live | None = None,
        journal: Path | None = None,
    ) -> None:
        self.live = live
        self.backend = backend
        self.label = label_of(backend)
        self.accelerator = accelerator
        self.threads = threads
        self.fit_path = fit_path
        self.devices = devices
        self.opened: Opened | None = None
        self._opening: Spec | None = None
        self._describing = ""
        self._importing = False
        target = target_of(backend)
        environment = environment_of_worker(threads)
        environment[ARGUMENTS] = json.dumps(list(arguments))
        environment[MODEL] = model
        if journal is not None:
            environment[JOURNAL] = str(journal)
        if accelerator == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        # An unregistered backend may be a file in the working directory. The child searches there
        # last, so that no file there takes the place of an installed package.
        own_modules = [] if target in installed().values() else [str(Path.cwd())]
        # Windows can neither pass on an open file by its number nor write stacks to it.
        posix = os.name == "posix"
        self._temporary = ExitStack()
        try:
            # A worker is killed in the end, and so are its own chances to remove what it has made.
            temporary = temporary_folder(Path(tempfile.gettempdir()), prefix=TEMPORARY)
            environment["TMPDIR"] = str(self._temporary.enter_context(temporary))
            # The files stay open as long as the child runs; `close` closes them.
            self._log: IO[bytes] | None = None if verbose else tempfile.TemporaryFile()  # noqa: SIM115
            self._stacks = tempfile.TemporaryFile()  # noqa: SIM115
            limit, file = str(timeout) if timeout and posix else "", self._stacks.fileno()
            process: ForkedProcess | None = None
            if not own_modules:
                process = forked(
                    target,
                    backend,
                    limit=limit,
                    environment=environment,
                    stderr=self._log.fileno() if self._log else streams.STDERR,
                    stacks=file,
                )
            self._process = process or subprocess.Popen(
                isolated("mnist_mlp.worker.child", target, backend, limit, str(file), *own_modules),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                # In its own session, the child does not receive Ctrl-C. Only the parent does, and
                # it ends the child.
                start_new_session=True,
                pass_fds=(file,) if posix else (),
            )
        except OSError as error:
            self._temporary.close()
            raise errors.SetupError(f"no worker process can be started: {error}") from None
        self._watch = Watch(self._process, label=self.label, limit=timeout, stacks=self._stacks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child and all processes that it started."""
        self._watch.close()
        self._watch.kill()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            log.warning("the %s worker cannot be ended: process %d", self.label, self._process.pid)
        for stream in (self._process.stdin, self._process.stdout, self._log, self._stacks):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        with suppress(OSError):
            self._temporary.close()

    def end(self, reason: BaseException) -> None:
        """Kill the child. The call that waits for it, or the next one, raises `reason`.

        May be called from any thread.
        """
        self._watch.end(reason)

    def describe(self) -> tuple[Capabilities, Environment]:
        """Return what the backend can do and what it found.

        Raises `SetupError` if its framework is missing.
        """
        answer: tuple[Capabilities, Environment] = self._call("describe")
        return answer

    def start_importing(self) -> None:
        """Let the child import its framework, without waiting for it.

        The next call must be `open`. It raises what `describe` does.
        """
        self._send("describe")
        self._importing = True

    def open(self, spec: Spec) -> Opened:
        """Build the model.

        Raises
        ------
        UsageError
            The backend does not support the specification.
        SetupError
            A GPU was requested, but the backend finds none.
        """
        if self._importing:
            self._importing = False
            self._answer("describe")
        if self._opening is not spec:
            self.start_opening(spec)
        self._opening = None
        answer: Opened = self._answer("open")
        self.opened = answer
        return answer

    def start_opening(self, spec: Spec) -> None:
        """Let the child import its framework and build the model, without waiting for it.

        The next call must be `open` with the same specification. It waits for the result.
        """
        self._send("open", spec, self.accelerator, self.threads, self.fit_path, self.devices)
        self._opening = spec

    def fit(
        self,
        plan: Plan,
        data: TrainingData,
        progress: Progress = NO_PROGRESS,
        *,
        start: State | None = None,
        val_losses: Sequence[float] = (),
    ) -> Mapping[str, Any]:
        """Train and report every epoch. Returns the flags of the backend's `fit`.

        `start` is the state after a whole epoch, from which training goes on, and `val_losses` are
        the validation losses up to it. `UsageError` if the backend cannot do that.
        """
        received = ReceivedData(**vars(data))
        ran: Mapping[str, Any] = self._call(
            "fit", plan, received, start, tuple(val_losses), progress=progress
        )
        return ran

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """Do one training step from a given state and return the record of every stage."""
        answer: StepRecord = self._call("step", state, images, labels)
        return answer

    def predict(self, weights: Tensors, images: Array) -> Array:
        """Logits (n, classes) of images, uint8 (n, inputs)."""
        answer: Array = self._call("predict", dict(weights), images)
        return answer

    def draw(self, plan: Plan) -> Draws:
        """Initial weights and orders, drawn by the framework itself after `open`.

        Raises
        ------
        UsageError
            The backend's framework draws nothing.
        BackendError
            What it drew does not fit the plan.
        """
        answer: Draws = self._call("draw", plan)
        rows, epochs = len(plan.train_ids), plan.spec.training.epochs
        shapes = {name: array.shape for name, array in plan.initial_weights.items()}
        whole = np.arange(rows)
        if {name: array.shape for name, array in answer.weights.items()} != shapes or any(
            array.dtype != plan.spec.training.precision for array in answer.weights.values()
        ):
            raise errors.BackendError(
                f"backend {self.label!r}: draw() gave weights of other shapes"
            )
        if answer.orders.shape != (epochs, rows) or any(
            not np.array_equal(np.sort(order), whole) for order in answer.orders
        ):
            raise errors.BackendError(
                f"backend {self.label!r}: draw() gave no order of {rows:,} rows for each epoch"
            )
        return answer

    def usage(self) -> dict[str, float]:
        """Resources used so far: `import_s` in seconds, `import_peak` and `peak` in bytes."""
        answer: dict[str, float] = self._call("usage")
        return answer

    def export(self, weights: Tensors, kind: str, folder: Path) -> list[str]:
        """Write an opened network to files of the framework and return their names.

        Raises `UsageError` if the backend cannot export.
        """
        answer: list[str] = self._call("export", dict(weights), kind, str(folder.resolve()))
        return answer

    # --- A user's own model (`mnist_mlp.ports.protocol.PortHost`). `open_port` comes first. ---

    def describe_port(self, target: str) -> PortDescription:
        """Load `file.py:NAME` and describe it without running it on any data."""
        if self._describing != target:
            self.start_describing(target)
        self._describing = ""
        description: PortDescription = self._answer("describe_port")
        return description

    def start_describing(self, target: str) -> None:
        """Let the child import its framework and load `file.py:NAME`, without waiting for it.

        The next call must be `describe_port` with the same target. It waits for the result.
        """
        self._watch.target = target
        self._send("describe_port", target, self.accelerator, self.threads, self.live)
        self._describing = target

    def open_port(
        self, target: str, *, data: TrainingData, image_shape: tuple[int, ...]
    ) -> PortFacts:
        """Run one batch of `file.py:NAME`; `UserCodeError` if the user's code raises."""
        self._watch.target = target
        facts: PortFacts = self._call(
            "open_port", target, self.accelerator, self.threads, data, image_shape
        )
        return facts

    def fit_port(
        self,
        job: PortJob,
        *,
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        """Train the port with its framework's own `fit`, and record it.

        The states of `job.shared` are read one by one, when the port comes to their steps.
        """
        states = job.shared
        self._port(
            "fit",
            replace(job, shared=AskedStates(states)),
            ask_state=states.__getitem__,
            on_step=on_step,
            on_epoch=on_epoch,
        )

    def predict_port(self, weights: Tensors, images: Array) -> Array:
        """Logits (n, classes) of the port in evaluation mode."""
        logits: Array = self._port("predict", dict(weights), images)
        return logits

    def train_port(
        self,
        plan: Plan,
        data: TrainingData,
        *,
        seed: int,
        native: bool,
        on_epoch: Callable[[Mapping[str, float]], None] = lambda _: None,
    ) -> float:
        """Train the port without setting any weights; return its accuracy on the test rows."""
        accuracy: float = self._port(
            "train", plan, data, seed=seed, native=native, on_epoch=on_epoch
        )
        return accuracy

    def pair_brought(
        self,
        images: Array,
        labels: Array,
        *,
        targets: int | None = None,
        weighted: bool = False,
    ) -> PairBrought:
        """Own data and settings of a model (`pair_side.PairHost`), described before."""
        brought: PairBrought = self._port(
            "pair_brought", images, labels, targets=targets, weighted=weighted
        )
        return brought

    def pair_open(
        self,
        candidates: Sequence[PairRows],
        *,
        precision: str,
        length: RunLength | None = None,
    ) -> PairFacts:
        """Load a model anew in a precision; run one batch of the first rows that it takes."""
        facts: PairFacts = self._port(
            "pair_open", tuple(candidates), precision=precision, length=length or RunLength(1, 1)
        )
        return facts

    def pair_draws(self) -> tuple[Tensors, ...]:
        """Initial weights of several models."""
        draws: tuple[Tensors, ...] = self._port("pair_draws")
        return draws

    def pair_fit(self, job: PairJob) -> tuple[PairStep, ...]:
        """One real `fit`, each of its steps recorded."""
        steps: tuple[PairStep, ...] = self._port("pair_fit", job)
        return steps

    def pair_reported(self) -> Reports:
        """What the model reported of the epochs of the last `pair_fit`."""
        reports: Reports = self._port("pair_reported")
        return reports

    def pair_rates(self, at: Sequence[int], *, interval: str | None = None) -> Mapping[str, Array]:
        """Learning rate and momentum of some updates, from the schedules alone."""
        rates: Mapping[str, Array] = self._port(
            "pair_rates", [int(step) for step in at], interval=interval
        )
        return rates

    def pair_predict(self, weights: Tensors, x: Inputs) -> Mapping[int, Array]:
        """Outputs of the last layer with weights, or of several last ones, in evaluation mode."""
        outputs: Mapping[int, Array] = self._port("pair_predict", dict(weights), x)
        return outputs

    def pair_train(self, run: WholeRun, *, on_epoch: Callable[[Mapping[str, float]], None]) -> None:
        """Train a model as its user would, from its own initial weights."""
        self._port("pair_train", run, on_epoch=on_epoch)

    def _port(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the opened `PortHost`.

        Functions cannot be sent to the child. It gets their names only, and sends each call back.
        """

        def tell(content: tuple[str, Any]) -> None:
            name, argument = content
            answer = callbacks[name](argument)
            if name.startswith(ASKING):
                self._send(ANSWER, answer)

        callbacks = {name: value for name, value in options.items() if callable(value)}
        plain = {name: value for name, value in options.items() if name not in callbacks}
        self._send("port", method, arguments, plain, tuple(callbacks))
        return self._answer(method, tell)

    def _call(self, method: str, *arguments: Any, progress: Progress = NO_PROGRESS) -> Any:
        def tell(content: Any) -> None:
            if isinstance(content, EpochRecord):
                progress.epoch(content)
            elif isinstance(content, Fallback):
                progress.fallback(content)
            else:
                progress.step(content)

        self._send(method, *arguments)
        return self._answer(method, tell)

    def _send(self, method: str, *arguments: Any) -> None:
        assert self._process.stdin is not None
        self._watch.begin(method)
        try:
            with self._watch.waiting():  # a worker that is stopped does not read
                pickle.dump((method, arguments), self._process.stdin, protocol=5)
                self._process.stdin.flush()
        except BrokenPipeError:
            raise self._end(method) from None

    def _answer(self, method: str, tell: Callable[[Any], None] = ignore) -> Any:
        self._watch.begin(method)
        while True:
            kind, content = self._next(method)
            if kind == "alive":
                self._watch.beat(content)
                continue
            self._watch.reported()
            if kind == "result":
                return content
            if kind == "error":
                raise self._rebuilt(*content)
            tell(content)

    def _next(self, method: str) -> tuple[str, Any]:
        """The child's next message."""
        assert self._process.stdout is not None
        try:
            with self._watch.waiting():
                message: tuple[str, Any] = _Unpickler(self._process.stdout).load()
        except (EOFError, pickle.UnpicklingError):
            raise self._end(method) from None
        return message

    def _end(self, method: str) -> BaseException:
        """The error that says why the child has ended."""
        return self._watch.failure or errors.BackendError(self._how_it_died(method))

    def _rebuilt(self, kind: str, text: str, trace: str) -> errors.MnistMlpError:
        """Make an exception of the child's error: one of our own classes, or a `BackendError`."""
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, errors.MnistMlpError):
            return known(text)
        failure = errors.BackendError(f"backend {self.label!r} failed: {kind}: {text}")
        failure.add_note(trace)
        return failure

    def _how_it_died(self, method: str) -> str:
        self._watch.kill()  # it has closed its pipe, so it is of no use any more
        code = self._process.wait()
        how = f"exit code {code}"
        if code < 0:
            how = f"killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", as happens when memory runs out"
        last = ""
        if self._log is not None:
            self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LAST_WORDS))
            lines = self._log.read().decode(errors="replace").strip().splitlines()
            last = f": {lines[-1].strip()[:300]}" if lines else ""
        model = f" of {self._watch.target}" if self._watch.target else ""
        return (
            f"the worker process of backend {self.label!r} died in {method!r}{model} ({how})"
            f"{last}; run again with -v to see everything it printed"
        )
