"""Time whole commands from the shell to their answer, and the training scripts that they judge."""

from __future__ import annotations

from pathlib import Path

from mnist_mlp.bench.cases import peer_cases
from mnist_mlp.bench.record import Case
from mnist_mlp.spec import Spec

TRAIN_KERAS, TRAIN_TORCH = "answer/train-keras", "answer/train-torch"
COMPARE_RUNS = "answer/compare-runs"

ANSWERS: dict[str, tuple[str, ...]] = {
    TRAIN_KERAS: ("train", "--backend", "keras", "--out", "{folder}/keras"),
    TRAIN_TORCH: ("train", "--backend", "torch", "--out", "{folder}/torch"),
    COMPARE_RUNS: ("compare", "{folder}/keras", "{folder}/torch"),
    "answer/compare": ("compare", "keras", "torch", "--out", "{folder}/both"),
    "answer/check-port": ("check", "{examples}/mended_port.py:MendedPort"),
    "answer/check-pair": (
        "check",
        "{examples}/tutorial_keras.py:build",
        "{examples}/mended_port.py:MendedPort",
    ),
}
"""The words of each command. `{folder}` is a new folder, `{examples}` that of the scripts."""

PREPARED: dict[str, tuple[str, ...]] = {COMPARE_RUNS: (TRAIN_KERAS, TRAIN_TORCH)}
"""Commands that must have run in the same folder before; they are not timed there."""

SCRIPTS = ("peer/tutorial_keras", "peer/textbook_port")
"""The training scripts of the two models that `check` judges."""


def answer_cases(spec: Spec, *, examples: Path, epochs: int, threads: int) -> list[Case]:
    """The commands, and the scripts whose training they judge.

    Raises
    ------
    UsageError
        As for `peer_cases`.
    """
    peers = peer_cases(spec, examples=examples, epochs=epochs)
    epochs = peers[0].epochs
    commands = [
        Case(key=key, kind="answer", spec=spec, epochs=epochs, threads=threads, arguments=words)
        for key, words in ANSWERS.items()
    ]
    return commands + [case for case in peers if case.key in SCRIPTS]
