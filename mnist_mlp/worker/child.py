"""The child process of a worker.

    python -m mnist_mlp.worker.child module:Class NAME LIMIT FD [FOLDER]

NAME is the backend's name in messages. After LIMIT seconds without a report (empty: never), this
process writes its stack to the open file FD (see `mnist_mlp.worker.stack`). FOLDER is one more
place to look for the backend's module.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

from mnist_mlp import streams
from mnist_mlp.contract import (
    Backend,
    Devices,
    Environment,
    EpochRecord,
    Fallback,
    FitPath,
    Plan,
    Progress,
    Runtime,
    Spec,
    State,
    TrainingData,
)
from mnist_mlp.errors import (
    BackendError,
    MissingPackagesError,
    MnistMlpError,
    SetupError,
    UsageError,
)
from mnist_mlp.memory import share_freed_memory
from mnist_mlp.ports.journal import keep_journal
from mnist_mlp.ports.live import Live, hold
from mnist_mlp.ports.protocol import PortDescription, PortFacts, PortHost
from mnist_mlp.ports.user_code import path_of
from mnist_mlp.run.machine import peak_memory
from mnist_mlp.stopping import stops
from mnist_mlp.worker.accelerator import gpu_refusal
from mnist_mlp.worker.devices import count_refusal, devices_refusal
from mnist_mlp.worker.out_of_memory import is_out_of_memory, memory_words
from mnist_mlp.worker.parent import ANSWER, ASKING, Opened
from mnist_mlp.worker.stack import StackWriter, where
from mnist_mlp.worker.watch import BEAT_S

_Calls = queue.SimpleQueue[tuple[str, tuple[Any, ...]]]


def main() -> None:
    """Serve calls until the parent closes the pipe."""
    share_freed_memory()
    streams.open_closed()
    # The messages to the parent use the pipe of stdout. What a framework prints must not get
    # between them, so everything that is printed goes to stderr instead.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(streams.STDERR, streams.STDOUT)
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    # Nor may it fail in the middle of training because nobody reads it, or because a disk is full.
    # Two objects: a user who closes one of them still has the other.
    sys.stderr, sys.stdout = streams.lossy_stderr(), streams.lossy_stderr()

    calls: _Calls = queue.SimpleQueue()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, calls, answers), daemon=True).start()
    target, name, limit, file, *folders = sys.argv[1:]
    sys.path += folders  # last, so that nothing there takes the place of an installed package
    stacks = StackWriter(float(limit) if limit else None, int(file))
    server = _Server(target, name, sink, stacks, answers)
    server.send("alive", "")
    threading.Thread(target=_beat, args=(server,), daemon=True).start()
    while True:
        server.busy = False
        stacks.stop()
        method, arguments = calls.get()
        stacks.restart()
        server.busy = True
        try:
            answer = getattr(server, method)(*arguments)
        except MnistMlpError as error:
            server.send("error", (type(error).__name__, str(error), ""))
        except Exception as error:
            if is_out_of_memory(error):
                server.send("error", (SetupError.__name__, server.memory_words(error), ""))
                continue
            # An unexpected error: one line for the message, and the traceback as a note.
            text = str(error).strip().splitlines()
            summary = text[0] if text else "no message"
            server.send("error", (type(error).__name__, summary, traceback.format_exc()))
        else:
            server.send("result", answer)


def _listen(source: IO[bytes], calls: _Calls, answers: queue.SimpleQueue[Any]) -> None:
    """Queue the parent's calls and answers. When the parent ends, end this process and all that it
    started, even in the middle of a call."""
    while True:
        try:
            method, arguments = pickle.load(source)
            if method == ANSWER:
                answers.put(*arguments)
            else:
                calls.put((method, arguments))
        except Exception:  # the pipe ended, perhaps within a message
            _end()


def _end() -> None:
    # The parent made this process the leader of a group. Somebody else who starts it may not have:
    # then the group is theirs.
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)  # sys.exit would only end this thread


def _beat(server: _Server) -> None:
    """During calls, tell the parent once a second that this process lives, and where it is."""
    while True:
        time.sleep(BEAT_S)
        if server.busy:
            server.send("alive", where(server.user_model))


class _Server:
    def __init__(
        self,
        target: str,
        name: str,
        sink: IO[bytes],
        stacks: StackWriter,
        answers: queue.SimpleQueue[Any],
    ) -> None:
        self.target = target
        self.name = name
        self.sink = sink
        self.stacks = stacks
        self.answers = answers
        self.busy = False
        self.user_model = ""
        self._sending = threading.Lock()
        self.device = "cpu"
        self.batch_size: int | None = None
        self.slower: Fallback | None = None
        self._backend: Backend | None = None
        self._port: PortHost | None = None
        self._described = ""
        self._imported: dict[str, float] = {}

    def report(self, content: Any) -> None:
        """Tell the parent of progress."""
        self.stacks.restart()
        self.send("progress", content)

    def ask(self, content: Any) -> Any:
        """Tell the parent, and wait for its answer. It is the parent that takes this time."""
        self.report(content)
        self.stacks.stop()
        answer = self.answers.get()
        self.stacks.restart()
        return answer

    def send(self, kind: str, content: Any) -> None:
        with self._sending:
            pickle.dump((kind, content), self.sink, protocol=5)
            self.sink.flush()

    @property
    def backend(self) -> Backend:
        if self._backend is None:
            self._backend = load(self.target, name=self.name)
        return self._backend

    def describe(self) -> Any:
        return self.backend.capabilities, self.backend.environment()

    def open(
        self,
        spec: Spec,
        accelerator: str,
        threads: int,
        fit_path: FitPath,
        devices: Devices,
    ) -> Opened:
        start = time.perf_counter()
        backend = self.backend
        refused = backend.capabilities.refusals(spec)
        self.batch_size = spec.training.batch_size
        if refused:
            raise UsageError(f"backend {self.name!r} does not support: {', '.join(refused)}")
        alone = devices_refusal(devices, label=self.name, capabilities=backend.capabilities)
        if alone is not None:
            raise alone
        environment = backend.environment()
        self._imported = {
            "import_s": time.perf_counter() - start,
            "import_peak": peak_memory(),
        }
        chosen = self._device(accelerator, environment)
        too_few = count_refusal(devices, accelerator=chosen, environment=environment)
        if too_few is not None:
            raise too_few
        self.slower = None
        if devices.shared and fit_path == "fast":
            fit_path = "plain"
            self.slower = Fallback(
                "several devices are trained on the plain path, one step per call", failed=False
            )
        runtime = Runtime(accelerator=chosen, threads=threads, fit_path=fit_path, devices=devices)
        flags = dict(backend.open(spec, runtime))
        _check_flags(flags, method="open")
        return Opened(
            runtime=runtime,
            device=environment.gpus[0] if chosen == "gpu" else "cpu",
            environment=environment,
            flags=flags,
            seconds=time.perf_counter() - start,
        )

    def _device(self, accelerator: str, environment: Environment) -> str:
        refused = gpu_refusal(self.name, self.backend.capabilities, environment)
        if accelerator == "gpu" and refused is not None:
            raise refused
        self.device = "gpu" if accelerator != "cpu" and refused is None else "cpu"
        return self.device

    def memory_words(self, error: BaseException) -> str:
        return memory_words(
            error, backend=self.name, device=self.device, batch_size=self.batch_size
        )

    def fit(
        self,
        plan: Plan,
        data: TrainingData,
        start: State | None,
        val_losses: tuple[float, ...],
    ) -> dict[str, Any]:
        # A backend that cannot resume has no such argument.
        options: dict[str, Any] = {} if start is None else {"start": start}
        if options and not self.backend.capabilities.resume:
            raise UsageError(
                f"backend {self.name!r} cannot go on from a checkpoint: train from the beginning"
            )
        last = 0.0
        losses = list(val_losses)

        def on_epoch(record: EpochRecord) -> bool:
            self.report(record)
            losses.append(record.val_loss)
            return stops(losses, plan.spec.training)

        def on_step(step: int) -> None:
            nonlocal last
            # A message costs more than a step of a small network. Ten per second are enough for a
            # progress bar.
            if time.monotonic() - last > 0.1:
                last = time.monotonic()
                self.report(step)

        def on_fallback(fallback: Fallback) -> None:
            self.report(fallback)

        if self.slower is not None:
            on_fallback(self.slower)
        progress = Progress(epoch=on_epoch, step=on_step, fallback=on_fallback)
        ran = dict(self.backend.fit(plan, data, progress, **options) or {})
        _check_flags(ran, method="fit")
        return ran

    def step(self, *arguments: Any) -> Any:
        return self.backend.step(*arguments)

    def export(self, weights: Any, kind: str, folder: str) -> Any:
        return self._optional("export", refusal="cannot export")(weights, kind, folder)

    def draw(self, plan: Plan) -> Any:
        return self._optional("draw", refusal="draws no initial weights and order of its own")(plan)

    def predict(self, *arguments: Any) -> Any:
        return self.backend.predict(*arguments)

    def describe_port(
        self, target: str, accelerator: str, threads: int, live: Live | None = None
    ) -> PortDescription:
        self.user_model = target
        keep_journal(path_of(target))
        if live is not None:
            hold(target, live)
        load_port = self._optional("open_port", refusal="cannot run a model of your own")
        chosen = self._device(accelerator, self.backend.environment())
        port: PortHost = load_port(target, Runtime(accelerator=chosen, threads=threads))
        self._port, self._described = port, target
        return port.description

    def open_port(
        self,
        target: str,
        accelerator: str,
        threads: int,
        data: TrainingData,
        image_shape: tuple[int, ...],
    ) -> PortFacts:
        if self._described != target:
            self.describe_port(target, accelerator, threads)
        assert self._port is not None
        self._described = ""  # opened once more, it is loaded anew
        return self._port.open(data=data, image_shape=image_shape)

    def port(self, method: str, arguments: Any, options: dict[str, Any], callbacks: Any) -> Any:
        """Call any method of the opened `PortHost`.

        `callbacks` names its arguments that are functions; calls of these are sent to the parent,
        which answers those named `ask_...`.
        """
        if self._port is None:
            raise BackendError(f"{method}: no port is open; call open_port first")

        def reporter(name: str) -> Callable[[Any], Any]:
            send = self.ask if name.startswith(ASKING) else self.report
            return lambda content: send((name, content))

        call = getattr(self._port, method)
        return call(*arguments, **options, **{name: reporter(name) for name in callbacks})

    def _optional(self, method: str, *, refusal: str) -> Callable[..., Any]:
        """An optional method of the backend (see `contract`); `UsageError` if it is missing."""
        found = getattr(self.backend, method, None)
        if not callable(found):
            raise UsageError(f"backend {self.name!r} {refusal}")
        wanted: Callable[..., Any] = found
        return wanted

    def usage(self) -> dict[str, float]:
        return {**self._imported, "peak": peak_memory()}


def _check_flags(flags: dict[str, Any], *, method: str) -> None:
    """Check that flags are JSON values, because they are written to `run.json` unchanged."""
    try:
        json.dumps(flags, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BackendError(f"{method}() must return JSON values, not {flags}: {error}") from None


def load(target: str, *, name: str | None = None) -> Backend:
    """Import `module:Class`, check that its packages are installed, and make an instance.

    `name` is the backend's name in error messages.
    """
    name = name or target
    module_name, _, class_name = target.partition(":")
    try:
        backend_class: Any = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise UsageError(f"backend {name!r}: no module named {error.name!r}") from None
    except AttributeError:
        raise UsageError(f"backend {name!r}: {module_name} has no {class_name}") from None
    if not callable(backend_class) or not hasattr(backend_class, "packages"):
        raise UsageError(f"backend {name!r}: is no backend's class: see mnist_mlp/contract.py")
    absent = [each for each in backend_class.packages if not importlib.util.find_spec(each)]
    if absent:
        raise MissingPackagesError(
            f"backend {name!r} needs {' and '.join(absent)}, not installed here: "
            f"run {backend_class.install}"
        )
    backend: Backend = backend_class()
    for method in ("environment", "open", "fit", "step", "predict"):
        if not callable(getattr(backend, method, None)):
            raise BackendError(
                f"backend {name!r} has no method {method!r}: see mnist_mlp/contract.py"
            )
    return backend


if __name__ == "__main__":
    main()
