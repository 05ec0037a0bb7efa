"""The child's side of a worker: `python -m mnist_mlp.worker.child module:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

from mnist_mlp.contract import (
    Backend,
    Environment,
    EpochRecord,
    FitPath,
    Plan,
    Progress,
    Runtime,
    Spec,
    TrainingData,
)
from mnist_mlp.errors import BackendError, MnistMlpError, SetupError, UsageError
from mnist_mlp.ports.protocol import PortFacts, PortHost
from mnist_mlp.run.machine import peak_memory
from mnist_mlp.worker.parent import Opened


def main() -> None:
    """Serve calls until the parent closes the pipe."""
    # What a framework prints must not fall into the messages: they get stdout's pipe for
    # themselves, and everything else that is printed goes to stderr.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())

    calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, calls), daemon=True).start()
    server = _Server(sys.argv[1], sink)
    while True:
        method, arguments = calls.get()
        try:
            answer = getattr(server, method)(*arguments)
        except MnistMlpError as error:
            server.send("error", (type(error).__name__, str(error), ""))
        except Exception as error:
            text = str(error).strip().splitlines()
            summary = text[0] if text else "no message"
            server.send("error", (type(error).__name__, summary, traceback.format_exc()))
        else:
            server.send("result", answer)


def _listen(source: IO[bytes], calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]]]) -> None:
    """Queue the parent's calls; when the parent is gone, so is this process, busy or not."""
    while True:
        try:
            calls.put(pickle.load(source))
        except Exception:  # the pipe has ended, or broken off within a message
            os._exit(1)


class _Server:
    def __init__(self, target: str, sink: IO[bytes]) -> None:
        self.target = target
        self.sink = sink
        self._backend: Backend | None = None
        self._port: PortHost | None = None
        self._imported: dict[str, float] = {}

    def send(self, kind: str, content: Any) -> None:
        pickle.dump((kind, content), self.sink, protocol=5)
        self.sink.flush()

    @property
    def backend(self) -> Backend:
        if self._backend is None:
            self._backend = load(self.target)
        return self._backend

    def describe(self) -> Any:
        return self.backend.capabilities, self.backend.environment()

    def open(self, spec: Spec, accelerator: str, threads: int, fit_path: FitPath) -> Opened:
        start = time.perf_counter()
        backend = self.backend
        refused = backend.capabilities.refusals(spec)
        if refused:
            raise UsageError(f"backend {self.target!r} does not support: {', '.join(refused)}")
        environment = backend.environment()
        self._imported = {
            "import_s": time.perf_counter() - start,
            "import_peak": peak_memory(),
        }
        chosen = self._device(accelerator, environment)
        runtime = Runtime(accelerator=chosen, threads=threads, fit_path=fit_path)
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
        able = "gpu" in self.backend.capabilities.accelerators
        if accelerator == "gpu" and not (able and environment.gpus):
            why = "sees none here" if able else "cannot use one"
            raise SetupError(
                f"--accelerator gpu: backend {self.target!r} {why}; "
                f"use --accelerator cpu, or see `mnist_mlp backends`"
            )
        return "gpu" if accelerator != "cpu" and able and environment.gpus else "cpu"

    def fit(self, plan: Plan, data: TrainingData) -> dict[str, Any]:
        last = 0.0

        def on_epoch(record: EpochRecord) -> None:
            self.send("progress", record)

        def on_step(step: int) -> None:
            nonlocal last
            if time.monotonic() - last > 0.1:  # a pipe message per step would cost more than it
                last = time.monotonic()
                self.send("progress", step)

        ran = dict(self.backend.fit(plan, data, Progress(epoch=on_epoch, step=on_step)) or {})
        _check_flags(ran, method="fit")
        return ran

    def step(self, *arguments: Any) -> Any:
        return self.backend.step(*arguments)

    def export(self, weights: Any, kind: str, folder: str) -> Any:
        return self._optional("export", refusal="cannot export")(weights, kind, folder)

    def predict(self, *arguments: Any) -> Any:
        return self.backend.predict(*arguments)

    def open_port(
        self,
        target: str,
        accelerator: str,
        threads: int,
        data: TrainingData,
        image_shape: tuple[int, ...],
    ) -> PortFacts:
        load_port = self._optional("open_port", refusal="cannot run a model of your own")
        chosen = self._device(accelerator, self.backend.environment())
        runtime = Runtime(accelerator=chosen, threads=threads)
        port: PortHost = load_port(target, runtime, data=data, image_shape=image_shape)
        self._port = port
        return port.facts

    def port(self, method: str, arguments: Any, options: dict[str, Any], told: Any) -> Any:
        """Any method of the opened `PortHost`; `told` names its functions that tell the parent."""
        if self._port is None:
            raise BackendError(f"{method}: no port is open; call open_port first")

        def teller(name: str) -> Callable[[Any], None]:
            return lambda content: self.send("progress", (name, content))

        call = getattr(self._port, method)
        return call(*arguments, **options, **{name: teller(name) for name in told})

    def _optional(self, method: str, *, refusal: str) -> Callable[..., Any]:
        """A method of the backend that `contract` calls optional."""
        found = getattr(self.backend, method, None)
        if not callable(found):
            raise UsageError(f"backend {self.target!r} {refusal}")
        wanted: Callable[..., Any] = found
        return wanted

    def usage(self) -> dict[str, float]:
        return {**self._imported, "peak": peak_memory()}


def _check_flags(flags: dict[str, Any], *, method: str) -> None:
    """They go into `run.json` as they are."""
    try:
        json.dumps(flags, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BackendError(
            f"{method}() must answer with JSON values, not {flags}: {error}"
        ) from None


def load(target: str) -> Backend:
    """Import `module:Class` and make an instance, once its distributions are found."""
    module_name, _, class_name = target.partition(":")
    try:
        backend_class = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise UsageError(f"backend {target!r}: no module named {error.name!r}") from None
    except AttributeError:
        raise UsageError(f"backend {target!r}: {module_name} has no {class_name}") from None
    absent = [name for name in backend_class.packages if not importlib.util.find_spec(name)]
    if absent:
        raise SetupError(
            f"backend {target!r} needs {' and '.join(absent)}, not installed here: "
            f"run {backend_class.install}"
        )
    backend: Backend = backend_class()
    for method in ("environment", "open", "fit", "step", "predict"):
        if not callable(getattr(backend, method, None)):
            raise BackendError(f"backend {target!r} has no method {method!r}: see contract.py")
    return backend


if __name__ == "__main__":
    main()
