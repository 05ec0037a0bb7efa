"""What `check` is given: `FILE.py:NAME` or a script, and the framework that has to run it."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.live import Live
from mnist_mlp.ports.source import read_source
from mnist_mlp.ports.user_code import SUFFIXES, is_script, split_target

FRAMEWORKS = {
    "keras": "keras",
    "tensorflow": "keras",
    "torch": "torch",
    "lightning": "torch",
    "pytorch_lightning": "torch",
}
"""Top-level packages whose import tells a file's framework, and the backend that hosts it."""


@dataclass(frozen=True)
class Target:
    """`path/to/file.py:NAME`, or a script, and the backend of its framework.

    A script has no `name`, or a number: which of its trainings is meant, or which of its `model`'s.
    It finds `arguments` in `sys.argv`. `left_out` says which lines of a notebook don't run. `live`
    is an object of this process, which stands in no file.
    """

    path: Path
    name: str
    framework: str
    arguments: tuple[str, ...] = ()
    model: str = ""
    left_out: tuple[str, ...] = ()
    live: Live | None = None

    @property
    def text(self) -> str:
        """As it is given."""
        return f"{self.path}:{self.name}" if self.name else str(self.path)


def parse_target(
    text: str, *, framework: str | None = None, arguments: str = "", model: str = ""
) -> Target:
    """Split `file.py:NAME` and tell its framework from its imports, without running it.

    Parameters
    ----------
    arguments : str
        Of a script, as a shell has them.
    model : str
        Of a script that trains several: the name of one of them.

    Raises
    ------
    UsageError
        No such file, no name, invalid Python, or imports of both frameworks or of none.
    """
    file, name = split_target(text)
    if not is_script(text) and not (file and name.isidentifier()):
        raise UsageError(
            f"{text}: expected FILE.py:NAME, the name of a model in a Python file, or a script "
            f"that trains one, FILE{' or FILE'.join(SUFFIXES)}"
        )
    if arguments and not is_script(text):
        raise UsageError(f"{text}: only a script takes arguments ({arguments})")
    if model and not is_script(text):
        raise UsageError(
            f"{text}: --model chooses among the trainings of a script, and this is none"
        )
    path = Path(file)
    source = read_source(path)
    if framework is None:
        framework = _framework(file, source.trees())
    return Target(path, name, framework, tuple(shlex.split(arguments)), model, source.left_out)


def _framework(file: str, trees: Iterable[ast.AST]) -> str:
    imports = {name for tree in trees for name in _imports(tree)}
    found = {FRAMEWORKS[name.partition(".")[0]] for name in imports if _tells(name)}
    if len(found) != 1:
        what = "both frameworks" if found else "neither Keras nor Lightning"
        raise UsageError(f"{file} imports {what}: say which with --framework keras or torch")
    return found.pop()


def _tells(name: str) -> bool:
    """Whether an import tells the framework; either's data sets are used with the other, too."""
    parts = name.split(".")
    return parts[0] in FRAMEWORKS and "datasets" not in parts


def _imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
