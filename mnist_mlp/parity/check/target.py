"""What `check` is given: `FILE.py:NAME`, and the framework that has to run it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from mnist_mlp.errors import UsageError
from mnist_mlp.readers.regular import Origin
from mnist_mlp.readers.texts import read_text

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
    """`path/to/file.py:NAME`, and the backend of its framework."""

    path: Path
    name: str
    framework: str

    @property
    def text(self) -> str:
        """As it is given."""
        return f"{self.path}:{self.name}"


def parse_target(text: str, *, framework: str | None = None) -> Target:
    """Split `file.py:NAME` and tell its framework from its imports, without running it.

    Raises
    ------
    UsageError
        No such file, no name, invalid Python, or imports of both frameworks or of none.
    """
    file, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        raise UsageError(f"{text}: expected FILE.py:NAME, the name of a model in a Python file")
    path = Path(file)
    source = read_text(path, Origin(UsageError))
    try:
        tree = ast.parse(source, filename=file)
    except SyntaxError as error:
        place = file if error.lineno is None else f"{file}:{error.lineno}"
        raise UsageError(f"{place}: not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; brackets in brackets
        reason = str(error) or "nested too deeply"
        raise UsageError(f"{file}: not valid Python: {reason}") from None
    found = {FRAMEWORKS[package] for package in _imports(tree) if package in FRAMEWORKS}
    if framework is None:
        if len(found) != 1:
            what = "both frameworks" if found else "neither Keras nor Lightning"
            raise UsageError(f"{file} imports {what}: say which with --framework keras or torch")
        framework = found.pop()
    return Target(path, name, framework)


def _imports(tree: ast.AST) -> set[str]:
    """Top-level packages that a module imports anywhere."""
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.partition(".")[0])
    return packages
