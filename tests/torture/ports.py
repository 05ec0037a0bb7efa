"""Odd ports: users' models that hang, end, fork, print, and break what they share with us.

The model itself is right; one line in one place is odd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torture.broken import Broken
from torture.case import ANSWERED, MIB, Try
from torture.world import SIZES

PORT = """\
import ctypes, os, resource, signal, subprocess, sys, threading, time
import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
TOP

class Port(L.LightningModule):
    def __init__(self):
        super().__init__()
        INIT
        self.model = nn.Sequential(nn.Linear(30, 9), nn.Sigmoid(), nn.Linear(9, 4))
        for layer in (self.model[0], self.model[2]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        FORWARD
        return self.model(x)

    def training_step(self, batch, batch_idx):
        STEP
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        OPTIMIZER
        return torch.optim.SGD(self.parameters(), lr=0.5)

END
"""

PLACES = {
    "TOP": "when it is imported",
    "INIT": "in __init__",
    "FORWARD": "in forward",
    "STEP": "in training_step",
    "OPTIMIZER": "in configure_optimizers",
    "END": "at the end of the file",
}

HARMLESS: dict[str, tuple[str, str]] = {
    "prints": ("STEP", "print('x' * 10_000)"),
    "prints escape codes": ("STEP", "print('\\x1b[2J\\x1b]0;title\\x07')"),
    "prints 50 MB": ("TOP", "print('x' * 50_000_000)"),
    "prints surrogates": ("TOP", "sys.stdout.buffer.write(b'\\xff\\xfe\\n')"),
    "writes to descriptor 1": ("STEP", "os.write(1, b'\\x80\\x05noise')"),
    "warns": ("STEP", "import warnings; warnings.warn('mind the gap')"),
    "sets sys.stdout to None": ("TOP", "sys.stdout = None"),
    "sets sys.stderr to None": ("TOP", "sys.stderr = None"),
    "replaces sys.stdout": ("TOP", "import io; sys.stdout = sys.stderr = io.StringIO()"),
    "closes sys.stdout": ("TOP", "sys.stdout.close()"),
    "reads standard input": ("TOP", "sys.stdin.read()"),
    "changes its folder": ("TOP", "os.chdir('/')"),
    "changes the umask": ("TOP", "os.umask(0o777)"),
    "clears its environment": ("TOP", "os.environ.clear()"),
    "ignores SIGTERM": ("TOP", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"),
    "starts a thread": ("TOP", "threading.Thread(target=time.sleep, args=(600,)).start()"),
    "starts a thread that prints": (
        "TOP",
        "threading.Thread(target=lambda: [print(n) or time.sleep(0.01) for n in range(10**5)])"
        ".start()",
    ),
    "forks": ("TOP", "os.fork() or (time.sleep(600), os._exit(0))"),
    "starts a program": ("STEP", "subprocess.Popen([sys.executable, '-c', 'input()'])"),
    "registers an end that hangs": ("TOP", "import atexit; atexit.register(time.sleep, 600)"),
    "seeds every generator": ("STEP", "torch.manual_seed(0)"),
    "replaces print": ("TOP", "import builtins; builtins.print = None"),
    "deletes its file": ("END", "os.remove(__file__)"),
    "collects garbage never": ("TOP", "import gc; gc.disable()"),
}
"""What a user may do: the verdict is given all the same."""

FATAL: dict[str, tuple[str, str]] = {
    "raises": ("STEP", "raise ValueError('no')"),
    "raises when imported": ("TOP", "raise ValueError('no')"),
    "raises 1 MB": ("STEP", "raise ValueError('x' * 10**6)"),
    "raises many lines": ("STEP", "raise ValueError('\\n' * 10**5)"),
    "raises escape codes": ("STEP", "raise ValueError('\\x1b[2J')"),
    "raises without a text": ("FORWARD", "raise Exception"),
    "raises BaseException": ("STEP", "raise BaseException('no')"),
    "raises KeyboardInterrupt": ("STEP", "raise KeyboardInterrupt"),
    "raises GeneratorExit": ("STEP", "raise GeneratorExit"),
    "raises an odd error": (
        "STEP",
        "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()",
    ),
    "raises StopIteration": ("STEP", "raise StopIteration"),
    "recurses without end": ("FORWARD", "self(x)"),
    "exits": ("STEP", "sys.exit(0)"),
    "exits when imported": ("TOP", "sys.exit(0)"),
    "exits at once": ("STEP", "os._exit(0)"),
    "exits at once when imported": ("TOP", "os._exit(0)"),
    "exits at once with 7": ("FORWARD", "os._exit(7)"),
    "kills itself": ("STEP", "os.kill(os.getpid(), signal.SIGKILL)"),
    "ends itself": ("STEP", "os.kill(os.getpid(), signal.SIGTERM)"),
    "aborts": ("STEP", "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"),
    "crashes": ("STEP", "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ctypes.string_at(0)"),
    "closes all descriptors": ("STEP", "os.closerange(0, 256)"),
    "closes all descriptors when imported": ("TOP", "os.closerange(0, 256)"),
    "writes noise to all descriptors": (
        "STEP",
        "[os.write(n, b'\\x80\\x05noise') for n in range(3, 64) "
        "if os.path.exists(f'/proc/self/fd/{n}') "
        "and os.readlink(f'/proc/self/fd/{n}').startswith('pipe')]",
    ),
    "eats memory": (
        "STEP",
        "_, hard = resource.getrlimit(resource.RLIMIT_AS); "
        "resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, hard)); "
        "hold = [torch.ones(2**26) for _ in range(200)]",
    ),
    "imports what is missing": ("TOP", "import no_such_package"),
    "has no name": ("END", "del Port"),
    "is a number": ("END", "Port = 3"),
    "is a function that returns nothing": ("END", "def Port(): pass"),
    "is a function that raises": ("END", "def Port(): raise ValueError('no')"),
    "is a class of its own": ("END", "class Port: pass"),
    "needs arguments": ("END", "_Port = Port\nclass Port(_Port):\n    def __init__(self, n): pass"),
    "is no Python": ("TOP", "this is no Python"),
    "has NUL bytes": ("TOP", "\0"),
    "is Latin-1": ("TOP", "# caf\udce9"),
    "has no optimizer": ("OPTIMIZER", "return None"),
    "has an odd optimizer": ("OPTIMIZER", "return 3"),
    "returns a text as its loss": ("STEP", "return 'low'"),
    "returns NaN": ("FORWARD", "return self.model(x) * float('nan')"),
    "returns another shape": ("FORWARD", "return self.model(x)[:, :1]"),
}
"""What no verdict can be given about."""

HANGS: dict[str, tuple[str, str]] = {
    "sleeps when imported": ("TOP", "time.sleep(600)"),
    "sleeps": ("STEP", "time.sleep(600)"),
    "loops": ("FORWARD", "while True: pass"),
    "stops itself": ("STEP", "os.kill(os.getpid(), signal.SIGSTOP)"),
    "stops itself when imported": ("TOP", "os.kill(os.getpid(), signal.SIGSTOP)"),
    "waits for a lock": ("STEP", "threading.Lock().acquire() and threading.Event().wait()"),
    "waits for a child": ("INIT", "subprocess.run(['sleep', '600'])"),
}
"""What never ends by itself: `--timeout` has to end it."""


def text_of(place: str, line: str) -> bytes:
    """The file of a port with one odd line."""
    text = PORT.replace(place, line, 1)
    for other in PLACES:
        text = text.replace(f"{other}\n", "pass\n", 1)
    return text.encode("utf-8", "surrogateescape")


def _port(odd: tuple[str, str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "port.py").write_bytes(text_of(*odd))

    return spoil


def _cases(
    kind: Mapping[str, tuple[str, str]], *, codes: frozenset[int], names: str, timeout: str
) -> list[Broken]:
    words = (
        *("check", "port.py:Port", "--set", SIZES, "--learning-rate", "0.5"),
        *("--batch-size", "32", "--epochs", "1", "--timeout", timeout),
    )
    attempt = Try(words, names=names, codes=codes, limit_s=90, memory=4096 * MIB)
    return [
        Broken(f"{name} ({PLACES[odd[0]]})", _port(odd), [attempt]) for name, odd in kind.items()
    ]


def harmless() -> list[Broken]:
    """Ports that are judged all the same."""
    return _cases(HARMLESS, codes=ANSWERED - {2, 3, 4, 5}, names="", timeout="60")


def fatal() -> list[Broken]:
    """Ports that cannot be judged, and whose file must be named."""
    return _cases(FATAL, codes=ANSWERED - {0, 4}, names="port.py", timeout="60")


def hanging() -> list[Broken]:
    """Ports that never end."""
    return _cases(HANGS, codes=frozenset({3}), names="port.py", timeout="15")
