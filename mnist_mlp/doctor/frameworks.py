"""What each backend finds when it is asked, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnist_mlp.doctor.finding import Finding, Level
from mnist_mlp.doctor.packages import FRAMEWORKS
from mnist_mlp.errors import MissingPackagesError, MnistMlpError
from mnist_mlp.registry import installed
from mnist_mlp.worker.accelerator import missing_driver
from mnist_mlp.worker.asking import Description, described

LIMIT_S = 120.0
"""Importing TensorFlow takes 5 s on a fast disk, and up to a minute on a slow one."""


def backend_findings(asked: Sequence[str] = ()) -> Iterator[Finding]:
    """The backends in `asked`, or all registered ones; devices where they work."""
    for name, answer in described(asked or installed(), timeout=LIMIT_S).items():
        subject = f"backend {name}"
        if isinstance(answer, MissingPackagesError):
            needs, _, remedy = str(answer).partition(": run ")
            if name in asked:
                yield Finding(subject, Level.broken, needs, remedy)
            else:
                yield Finding(subject, Level.absent, f"optional: {needs}", remedy)
        elif isinstance(answer, MnistMlpError):
            yield Finding(subject, Level.broken, str(answer), _remedy(name))
        else:
            yield _working(subject, answer)


def _working(subject: str, answer: Description) -> Finding:
    _, environment = answer
    versions = ", ".join(f"{package} {number}" for package, number in environment.versions.items())
    text = f"{versions}; devices: {', '.join(['cpu', *environment.gpus])}"
    if environment.gpus or not environment.gpu_install or missing_driver():
        return Finding(subject, Level.ok, text)
    return Finding(
        subject,
        Level.note,
        f"{text}; a GPU's driver is installed, but the framework sees no GPU",
        environment.gpu_install,
    )


def _remedy(name: str) -> str:
    """The command that installs one of our backends anew; a stranger's is not known here."""
    return f"pip install --force-reinstall 'mnist-mlp[{name}]'" if name in FRAMEWORKS else ""
