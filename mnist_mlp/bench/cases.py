"""The cases of a sitting: those the user chose, the peers, and those that the targets need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from mnist_mlp.bench.record import Case
from mnist_mlp.contract import FitPath
from mnist_mlp.errors import UsageError
from mnist_mlp.registry import label_of
from mnist_mlp.shown import shown
from mnist_mlp.spec import Spec

ACCELERATORS = ("cpu", "gpu")
FIT_PATHS: tuple[FitPath, ...] = get_args(FitPath)
LIMIT = "limit/sgemm"
COMMAND = "/command"
TRAINING = "/training"
EQUAL_THREADS = "--equal-threads"

PEERS: dict[str, tuple[str, ...]] = {
    "peer/tutorial_keras": ("tutorial_keras.py",),
    "peer/textbook_port": ("textbook_port.py",),
    "peer/torch_loop": ("torch_loop.py",),
    "peer/torch_loop" + TRAINING: ("torch_loop.py", "--no-validation"),
    "peer/sklearn_mlp": ("sklearn_mlp.py",),
}
"""The scripts of `examples/`, each with its arguments."""

# Four epochs, so that one slow epoch does not change the median.
_LIMIT_EPOCHS = 4


@dataclass(frozen=True)
class Choice:
    """What the user asked for.

    `epochs` is the number of steady epochs of a worker. `command_epochs` is the number of epochs of
    a whole command; 0 leaves commands out.
    """

    backends: tuple[str, ...]
    accelerators: tuple[str, ...] = ("cpu",)
    fit_paths: tuple[FitPath, ...] = ("fast",)
    epochs: int = 7
    command_epochs: int = 10
    threads: int | None = None

    def worker(self, backend: str, spec: Spec, *, accelerator: str, fit_path: FitPath) -> Case:
        """A case that times one of our backends phase by phase."""
        return Case(
            key=f"{label_of(backend)}/{accelerator}/{fit_path}",
            kind="worker",
            spec=spec,
            epochs=self.epochs,
            backend=backend,
            accelerator=accelerator,
            fit_path=fit_path,
            threads=self.threads,
        )


def our_cases(spec: Spec, choice: Choice, *, training: bool = False) -> list[Case]:
    """One case for each backend, accelerator and path, its whole command, and the limit at the end.

    `training` adds a case without validation for each.
    """
    cases = []
    for backend in choice.backends:
        for accelerator in choice.accelerators:
            for fit_path in choice.fit_paths:
                case = choice.worker(backend, spec, accelerator=accelerator, fit_path=fit_path)
                cases.append(case)
                if training:
                    changed = {"key": case.key + TRAINING, "validated": False}
                    cases.append(case.model_copy(update=changed))
                if choice.command_epochs:
                    cases.append(
                        case.model_copy(
                            update={
                                "key": case.key + COMMAND,
                                "kind": "command",
                                "epochs": choice.command_epochs,
                            }
                        )
                    )
    cases.append(limit_case(spec))
    keys = [case.key for case in cases]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UsageError(f"these cases are named twice: {', '.join(twice)}; name each backend once")
    return cases


def thread_cases(
    spec: Spec, choice: Choice, *, threads: Sequence[int], examples: Path, epochs: int
) -> list[Case]:
    """Our cases and the scripts, each pinned to the same numbers of threads; the limit at the end.

    Raises
    ------
    UsageError
        As for `peer_cases`.
    """
    scripts = peer_cases(spec, examples=examples, epochs=epochs)
    ours = our_cases(spec, replace(choice, command_epochs=0))[:-1]
    both = [*ours, *(case for case in scripts if case.validated)]
    pinned = [
        case.model_copy(update={"key": case.key + with_threads(number), "threads": number})
        for number in threads
        for case in both
    ]
    return [*pinned, limit_case(spec)]


def with_threads(number: int) -> str:
    """The end of the key of a case with so many threads."""
    return f"/threads-{number}"


def limit_case(spec: Spec) -> Case:
    """The case that times the matrix products alone."""
    return Case(key=LIMIT, kind="limit", spec=spec, epochs=_LIMIT_EPOCHS)


def peer_cases(spec: Spec, *, examples: Path, epochs: int) -> list[Case]:
    """The scripts that a user would write without this package.

    They always train the tutorial's network on MNIST.

    Raises
    ------
    UsageError
        A script is missing, or the specification differs from the tutorial's, so that the times
        could not be compared.
    """
    tutorial = Spec()
    same = ("model", "optimizer", "training", "data")
    for section in same:
        mine, theirs = getattr(spec, section), getattr(tutorial, section)
        # The number of epochs and the source of MNIST do not change the time of an epoch.
        changed = {"epochs": theirs.epochs} if section == "training" else {}
        changed |= {"dataset": theirs.dataset} if section == "data" else {}
        if mine.model_copy(update=changed) != theirs:
            raise UsageError(
                f"--peers: the scripts of examples/ train the tutorial's network, and {section} of "
                f"this specification differs from it; use configs/tutorial.toml"
            )
    cases = []
    for key, (script, *arguments) in PEERS.items():
        path = examples / script
        if not path.is_file():
            raise UsageError(
                f"--peers: {path} does not exist; run bench in a checkout, or name the folder of "
                f"the scripts with --examples"
            )
        cases.append(
            Case(
                key=key,
                kind="peer",
                spec=spec,
                epochs=max(epochs, 2),  # the first epoch warms up, so one more is needed
                arguments=(script, *arguments),
                validated=not key.endswith(TRAINING),
            )
        )
    return cases


def checked_threads(text: str) -> tuple[int, ...]:
    """The numbers of threads of `--equal-threads`.

    Raises
    ------
    UsageError
        It is no list of numbers from 1 to 1024, or this is no Linux, where they can be counted.
    """
    words = checked_words(text, known=None, option=EQUAL_THREADS)
    if not all(word.isdecimal() and 1 <= int(word) <= 1024 for word in words):
        raise UsageError(f"{EQUAL_THREADS}: expected numbers such as 1,2, not {shown(text)}")
    if not sys.platform.startswith("linux"):
        raise UsageError(f"{EQUAL_THREADS}: the threads of a script can be counted on Linux only")
    return tuple(int(word) for word in words)


def checked_words(text: str, *, known: Sequence[str] | None, option: str) -> tuple[str, ...]:
    """The words of a comma-separated list, each once. With `known`, every word must be in it.

    Raises
    ------
    UsageError
        The list is empty, or a word is unknown; the message suggests the nearest known word.
    """
    from mnist_mlp.nearest import did_you_mean

    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UsageError(f"{option}: the list is empty; give at least one name")
    for word in words:
        if known is not None and word not in known:
            raise UsageError(f"{option}: unknown {word!r}{did_you_mean(word, known)}")
    return words
