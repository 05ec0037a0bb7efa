"""What is tried in the torture run, and when it counts as survived."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20

REFUSED = frozenset({2, 3, 4, 5})
"""Exit codes of a refusal: usage, environment, data, not finite."""
ANSWERED = REFUSED | {0, 1, 6}
"""Every exit code that a command may end with by itself, except 70, a fault of the program."""
JUDGED = ANSWERED - {0}
"""What `compare` may say of a broken run: refused, different or inconclusive, but not the same."""

LONGEST_ERROR = 1100
"""Most characters of an error, paths included."""
STACK = re.compile(r'(Current thread|Thread) 0x|  File "|  \.\.\.$')
"""Lines of a stack, as `faulthandler` writes them."""
PYTHON_WARNING = re.compile(r"\.py:\d+: \w*Warning:.*")
"""What Python prints of a warning that nobody caught; it names our code, not the user's file."""
MOST_LINES = 3
"""Most lines of an error: what was wrong, what to do, and one note."""


@dataclass(frozen=True)
class Try:
    """One command on the broken input.

    Parameters
    ----------
    words : sequence of str
        The command line, run in the case's folder.
    names : str
        What an error must name: the file, the option or the key that is wrong.
    codes : set of int
        Exit codes that are right.
    environment : mapping
        Variables that differ; None removes one.
    limit_s : float
        Seconds after which the command counts as hanging.
    memory : int
        Most bytes of resident memory, of the command and of each process that it started.
    """

    words: Sequence[str]
    names: str = ""
    codes: frozenset[int] = REFUSED
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limit_s: float = 20.0
    memory: int = 1024 * MIB


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    `code` is None if it had to be killed; `traces` are tracebacks that it left in files; `left`
    are processes that outlived it.
    """

    code: int | None
    out: bytes
    err: bytes
    seconds: float
    memory: int
    traces: Sequence[str] = ()
    left: Sequence[str] = ()

    @property
    def said(self) -> str:
        """Everything that it printed."""
        return (self.out + self.err).decode(errors="backslashreplace")


@dataclass(frozen=True)
class Fault:
    """What is wrong with an answer. `kind` is a column of the table."""

    kind: str
    text: str


LOST, TRACEBACK, HANG, OTHER = "lost", "traceback", "hang", "other"


@dataclass(frozen=True)
class Result:
    """What became of one case.

    `waited_s` and `memory` (bytes) are the most of any of its commands; `details` has the commands
    that went wrong, with their output.
    """

    name: str
    faults: Sequence[Fault]
    waited_s: float
    memory: int
    details: str = ""


def result_of(name: str, told: Sequence[tuple[Sequence[str], Answer, list[Fault]]]) -> Result:
    """Sum up a case from its commands, their answers and what is wrong with those."""
    return Result(
        name,
        faults=[fault for _, _, faults in told for fault in faults],
        waited_s=max((answer.seconds for _, answer, _ in told), default=0.0),
        memory=max((answer.memory for _, answer, _ in told), default=0),
        details="\n".join(
            _described(words, answer, faults) for words, answer, faults in told if faults
        ),
    )


def _described(words: Sequence[str], answer: Answer, faults: Sequence[Fault]) -> str:
    """A command that went wrong, for whoever mends it."""
    said = answer.err.decode(errors="backslashreplace")[-600:].strip()
    return (
        f"  $ mnist_mlp {shlex.join(words)[:300]}\n"
        f"    {'; '.join(f'{fault.kind}: {fault.text}' for fault in faults)}\n"
        f"    exit code {answer.code}, {answer.seconds:.1f} s, {answer.memory // MIB} MiB: {said}"
    )


def faults_of(attempt: Try, answer: Answer) -> list[Fault]:
    """Everything that is wrong with one answer, the worst first."""
    if answer.code is None:
        return [Fault(HANG, f"no end after {attempt.limit_s:.0f} s")]
    found = []
    if answer.traces or "Traceback" in answer.said or answer.code == 70:
        lines = ("".join(answer.traces) or answer.said).strip().splitlines()
        found.append(Fault(TRACEBACK, " / ".join(line.strip()[:200] for line in lines[-4:])))
    if answer.code not in attempt.codes:
        found.append(Fault(OTHER, f"exit code {answer.code}, right is {sorted(attempt.codes)}"))
    if answer.memory > attempt.memory:
        found.append(
            Fault(
                OTHER,
                f"{answer.memory // MIB} MiB of memory, at most {attempt.memory // MIB} are right",
            )
        )
    if answer.left:
        found.append(Fault(OTHER, f"processes outlive it: {'; '.join(answer.left)}"))
    found += _faults_of_text(attempt, answer)
    return found


def _faults_of_text(attempt: Try, answer: Answer) -> list[Fault]:
    """What is wrong with the printed text: an error has to be short, printable and name a place."""
    found = []
    for stream in (answer.out, answer.err):
        try:
            text = stream.decode()
        except UnicodeDecodeError:
            found.append(Fault(OTHER, "prints bytes that are not UTF-8"))
            continue
        odd = {character for character in text if not _printable(character)}
        if odd:
            found.append(Fault(OTHER, f"prints control characters: {sorted(odd)!a}"[:200]))
    if warning := PYTHON_WARNING.search(answer.said):
        found.append(Fault(OTHER, f"prints a warning of Python's: {warning[0]}"))
    if answer.code in REFUSED:
        lines = answer.err.decode(errors="backslashreplace").splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        if len(starts) != 1:
            return [*found, Fault(OTHER, f"{len(starts)} lines begin with 'error: ', expected one")]
        # At a time limit, the stack of the hanging process follows the error.
        error = [line for line in lines[starts[0] :] if not STACK.match(line)]
        text = "\n".join(error)
        if len(text) > LONGEST_ERROR or len(error) > MOST_LINES:
            found.append(Fault(OTHER, f"an error of {len(error)} lines, {len(text)} characters"))
        if attempt.names not in text:
            found.append(Fault(OTHER, f"the error does not name {attempt.names!r}"))
    return found


def _printable(character: str) -> bool:
    return character.isprintable() or character in "\n\t"


def content_of(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of each regular file below a folder, by its relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
