"""Objects of a running Python process, and workers that are forked of one another.

Each case is a small program of a user's that calls `mnist_mlp.check`. It ends as the command does:
with the verdict's exit code, or with the error's and its text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent

from torture.case import ANSWERED, LOST, MIB, Fault, Result, Try, content_of, faults_of, result_of
from torture.ports import text_of
from torture.process import started
from torture.world import World

PROGRAM = """\
import sys

import mnist_mlp
from mnist_mlp import load_dataset
from mnist_mlp.errors import MnistMlpError
from mnist_mlp.spec import parse_spec
from mnist_mlp.testing import warm_workers
from pathlib import Path

SPEC = parse_spec({
    "model": {"layer_sizes": [30, 9, 4]},
    "optimizer": {"learning_rate": 0.5},
    "training": {"batch_size": 32, "epochs": 1},
})


def checked(given, **options):
    options = {"spec": SPEC, "dataset": load_dataset("auto"), **options}
    return mnist_mlp.check(given, timeout=60, **options).outcome.exit_code


def main():
BODY


try:
    code = main()
except MnistMlpError as error:
    print(f"error: {error}", file=sys.stderr)
    code = error.exit_code
sys.exit(code)
"""

CLASS = "from port import Port\n"

LIVE: dict[str, tuple[str, str]] = {
    "a class": ("return checked(Port)", ""),
    "a module": ("return checked(Port())", ""),
    "a function that makes one": ("return checked(lambda: Port())", ""),
    "a class within a function": ("class Own(Port): pass\nreturn checked(Own)", ""),
    "a dictionary": ('return checked({"module": Port})', ""),
    "a lock in it": ("import threading\nport = Port()\nport.lock = threading.Lock()\n"
                     "return checked(port)", "cannot be pickled"),
    "an open file in it": (
        "port = Port()\nport.file = open('port.py')\nreturn checked(port)", ""),
    "a generator in it": ("port = Port()\nport.rows = (n for n in range(3))\nreturn checked(port)",
                          "cannot be pickled"),
    "a pickle that raises here": (
        "class Own(Port):\n    def __reduce__(self): raise ValueError('no')\nreturn checked(Own())",
        "cannot be pickled"),
    "a pickle that raises there": (
        "class Own(Port):\n    def __setstate__(self, state): raise ValueError('no')\n"
        "return checked(Own())", "cannot be put together"),
    "a pickle that ends the worker": (
        "class Own(Port):\n    def __setstate__(self, state):\n        import os\n"
        "        os._exit(7)\nreturn checked(Own())", "exit code 7"),
    "one that holds itself": ("port = Port()\nport.own = [port]\nreturn checked(port)", ""),
    "nothing": ("return checked(None)", "neither Keras nor torch"),
    "a number": ("return checked(3)", "neither Keras nor torch"),
    "a module of Python": ("import json\nreturn checked(json)", ""),
    "one that raises": ("class Own(Port):\n"
                        "    def training_step(self, *_): raise ValueError('no')\n"
                        "return checked(Own)", "ValueError: no"),
    "10 MB in it": ("import numpy as np\nport = Port()\nport.much = np.ones(10**7 // 8)\n"
                    "return checked(port)", ""),
}  # fmt: skip
"""What is given, and what an error about it must say; empty where there need not be one."""

FORKED: dict[str, tuple[str, str]] = {
    "the second of two": ("", "checked(Port)"),
    "after one that ended": ("", "after('os._exit(0)')"),
    "after one that was killed": ("", "after('os.kill(os.getpid(), 9)')"),
    "after one that closed all descriptors": ("", "after('os.closerange(0, 256)')"),
    "after one that forked": ("", "after('os.fork() or (__import__(\"time\").sleep(600))')"),
    "after one that raised": ("", "after('raise SystemExit(3)')"),
    "after one that changed its folder": ("", "after('os.chdir(\"/\")')"),
    "with its server killed": ("", "checked(Port)\nkill_children()"),
    "with its server stopped": ("", "checked(Port)\nkill_children(19)"),
    "within threads": ("from concurrent.futures import ThreadPoolExecutor\n",
                       "with ThreadPoolExecutor(2) as pool:\n"
                       "    list(pool.map(checked, [Port] * 2))"),
}  # fmt: skip
"""What happens in forked workers before a right port is judged in another one."""

HELPERS = """\
import os
from contextlib import suppress


def after(line):
    class Own(Port):
        def training_step(self, *arguments):
            exec(line)
            return super().training_step(*arguments)

    with suppress(MnistMlpError):
        checked(Own)


def kill_children(number=9):
    me = str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            if rest.split()[1] == me:
                os.kill(int(stat.parent.name), number)
"""


@dataclass(frozen=True)
class Program:
    """A user's program; `attempt` says what is right of it."""

    name: str
    text: str
    attempt: Try

    def run(self, world: World) -> Result:
        """Run it in a folder of its own, beside a right `port.py`."""
        with world.copied() as folder:
            (folder / "port.py").write_bytes(text_of("TOP", "pass"))
            (folder / "program.py").write_text(self.text, encoding="utf-8")
            before = content_of(folder / "precious")
            answer = started(
                [sys.executable, "program.py"],
                folder=folder,
                environment=world.environment(folder, {}),
                limit_s=self.attempt.limit_s,
            )
            found = faults_of(self.attempt, answer)
            if content_of(folder / "precious") != before:
                found.insert(0, Fault(LOST, "files of the user were touched"))
        return result_of(self.name, [(["program.py", self.name], answer, found)])


def _program(body: str, *, head: str = "") -> str:
    return CLASS + head + PROGRAM.replace("BODY", indent(body, "    "))


def _attempt(names: str = "", codes: frozenset[int] = frozenset({0})) -> Try:
    return Try((), names=names, codes=codes, limit_s=90, memory=4096 * MIB)


def live() -> Sequence[Program]:
    """Objects that are judged, or refused in words."""
    cases: Mapping[str, tuple[str, str]] = LIVE
    return [
        Program(name, _program(body), _attempt(names, ANSWERED - ({0} if names else {3, 4, 5})))
        for name, (body, names) in cases.items()
    ]


def forked() -> Sequence[Program]:
    """A right port after others, in workers that are forked of one server."""
    return [
        Program(
            name,
            _program(
                f"with warm_workers():\n{indent(body, '    ')}\n    return checked(Port)",
                head=head + HELPERS,
            ),
            _attempt(),
        )
        for name, (head, body) in FORKED.items()
    ]
