"""Load a user's file, and name the user's own line if it raises."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any

from mnist_mlp.errors import MnistMlpError, UsageError, UserCodeError
from mnist_mlp.nearest import did_you_mean

_LONGEST = 300  # most characters of a user's error text in a message


SUFFIXES = (".py", ".ipynb")
"""Of files that can be run."""


HELD: dict[str, Callable[[], Any]] = {}
"""What gives the objects that have come into this process without a file, by target (`live`)."""

CELLS: dict[str, str] = {}
"""What cells of a running notebook are called, by what Python calls their file."""


def split_target(target: str) -> tuple[str, str]:
    """File and name of `path/to/file.py:NAME`; of a script alone, the name is empty."""
    file, colon, name = target.rpartition(":")
    return (target, "") if not colon or target.endswith(SUFFIXES) else (file, name)


def path_of(target: str) -> Path:
    """The file of `path/to/file.py:NAME`, or of a script."""
    return Path(split_target(target)[0])


def is_script(target: str) -> bool:
    """Whether a file is to be run until it trains: no name, or `file.py:2`, its second training."""
    file, name = split_target(target)
    return file.endswith(SUFFIXES) and (not name or name.isdecimal())


def load_object(target: str) -> Any:
    """Import `path/to/file.py:NAME`, as Python would run the file from its own folder.

    Raises
    ------
    UsageError
        There is no such file, or no such name in it; the text suggests the nearest name.
    UserCodeError
        The user's code raised.
    """
    file, name = split_target(target)
    path = Path(file)
    if target in HELD:
        with user_errors(path):
            return HELD[target]()
    if not name:
        raise UsageError(f"{target}: expected FILE.py:NAME")
    if not path.is_file():
        raise UsageError(f"{file}: no such file")
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # it stays, because the user's functions may import later
    # A user's file may have the name of a module that is already imported, such as `model`.
    module_name = path.stem if path.stem not in sys.modules else f"port_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look up the module there
    with user_errors(path):
        spec.loader.exec_module(module)
    if not hasattr(module, name):
        names = [key for key in vars(module) if not key.startswith("_")]
        raise UsageError(f"{file} has no {name!r}{did_you_mean(name, names)}")
    return getattr(module, name)


def cell_name(path: Path, number: int) -> str:
    """What a cell of a notebook is called where Python names a file."""
    return f"{path}, cell {number}"


def without_cell(file: str) -> str:
    """The notebook of such a name; any other name stays as it is."""
    return re.sub(r"(\.ipynb), cell \d+$", r"\1", file)


@contextmanager
def user_errors(path: str | Path) -> Iterator[None]:
    """Turn an error of the user's code into a `UserCodeError` that names the user's own line.

    An error that our own code raised, without a line of the user's in its traceback, is not
    changed: it is our bug.
    """
    try:
        yield
    except MnistMlpError:
        raise
    except BaseException as error:
        # Also SystemExit and its like, which would end the worker without a word.
        found = _line_to_blame(error, Path(path))
        if found is None and _ours(error):
            raise
        where = f"{found[0]}:{found[1]}" if found else str(path)
        raise UserCodeError(f"{where}: {type(error).__name__}: {_summary(error)}") from error


def _line_to_blame(error: BaseException, path: Path) -> tuple[str, int] | None:
    """The user's innermost file and line in the traceback of an error.

    If there is none, the errors that it was raised from are searched, and then its text: graph
    compilers and data loader processes keep the original traceback only there.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return shown_path(Path(error.filename), path), error.lineno
    seen: BaseException | None = error
    while seen is not None:
        for frame in reversed(extract_tb(seen.__traceback__)):
            if frame.lineno and belongs_to_user(Path(frame.filename), path):
                return shown_path(Path(frame.filename), path), frame.lineno
        seen = seen.__cause__ or seen.__context__
    for file, line in reversed(re.findall(r'File "([^"]+)", line (\d+)', _text(error))):
        if belongs_to_user(Path(file), path):
            return shown_path(Path(file), path), int(line)
    return None


def belongs_to_user(file: Path, path: Path) -> bool:
    """Whether a file is the user's, or lies beside or below it and is not an installed package.

    A cell of a notebook belongs to it.
    """
    if str(file) in CELLS:
        return True
    file, own = Path(without_cell(str(file))).resolve(), path.resolve()
    if file == own:
        return True
    paths = sysconfig.get_paths()
    # The user's environment may lie in a folder below the file, such as `.venv`.
    foreign = {Path(paths[key]).resolve() for key in ("stdlib", "purelib", "platlib")}
    inside = own.parent in file.parents and file.exists()
    return inside and not _is_our_file(file) and not foreign & set(file.parents)


def _is_our_file(file: Path) -> bool:
    """Whether a file belongs to this package or to a backend."""
    return any(
        parent.name.startswith("mnist_mlp") and (parent / "__init__.py").exists()
        for parent in file.parents
    )


def _ours(error: BaseException) -> bool:
    frames = extract_tb(error.__traceback__)
    file = Path(frames[-1].filename).resolve() if frames else Path()
    return _is_our_file(file)


def shown_path(file: Path, path: Path) -> str:
    """A path for messages: the user's file is shown as the user wrote it."""
    if str(file) in CELLS:
        return CELLS[str(file)]
    own = without_cell(str(file))
    same = Path(own).resolve() == path.resolve()
    return f"{path}{str(file).removeprefix(own)}" if same else str(file)


def _summary(error: BaseException) -> str:
    """The first line of an error's text, or the last line if the text holds a traceback."""
    lines = [line.strip() for line in _text(error).splitlines() if line.strip()]
    if not lines:
        return "no message"
    line = lines[-1] if any(line.startswith('File "') for line in lines) else lines[0]
    return line[:_LONGEST]


def _text(error: BaseException) -> str:
    """The text of a user's error, whose `__str__` may raise too."""
    try:
        return str(error)
    except Exception as problem:
        return f"its text raises {type(problem).__name__}"
