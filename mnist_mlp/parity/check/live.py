"""What `check` is given in Python: a text, or an object of the running process.

An object is pickled by cloudpickle, with the user's own classes and functions that it is made of,
and goes to the worker of its framework. This process imports no framework.
"""

from __future__ import annotations

import dis
import io
import linecache
import sys
import sysconfig
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, ClassVar

import cloudpickle

from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check.target import FRAMEWORKS, Target, parse_target
from mnist_mlp.ports.live import Cell, Live

BOTH = (
    "torch and TensorFlow are both loaded in this process, where they may crash or hang each "
    "other: restart it, and import one of them inside the functions that need it"
)

DYNAMIC = "<dynamic-code>"
"""What cloudpickle calls the file of all code."""

NO_FILE = "live"
"""Where an object comes from if nobody knows."""


def target_of(
    given: Any, *, framework: str | None = None, option: str = "framework_b", arguments: str = ""
) -> Target:
    """The target of what `check` is given.

    Parameters
    ----------
    given : str, Path, or any object
        `FILE.py:NAME`, a script, or what stands under such a name: a model or module, a class or
        function that makes one, a dictionary with one.
    framework : {"keras", "torch"}, optional
        By default, it is told from what the object is made of.
    option : str
        What that argument is called where a user gives it.

    Raises
    ------
    UsageError
        It cannot be pickled, or its framework cannot be told.
    """
    if isinstance(given, str | Path):
        return parse_target(str(given), framework=framework, arguments=arguments)
    name, file = _name(given), _file(given)
    cells = _cells()
    shown = cells[file].name if file in cells else _relative(file)
    if framework is None:
        framework = _framework(given, f"{shown}:{name}", option)
    if "torch" in sys.modules and "tensorflow" in sys.modules:
        warnings.warn(BOTH, stacklevel=3)
    folders = tuple(folder or str(Path.cwd()) for folder in sys.path)
    live = Live(_pickled(given, f"{shown}:{name}"), cells, folders)
    return Target(Path(shown), name, framework, live=live)


# --- What it is called ----------------------------------------------------------------------------


def _maker(given: Any) -> Any:
    """What tells where an object comes from: a class or function, of a dictionary its model's."""
    if isinstance(given, Mapping):
        made = next((given[key] for key in ("model", "module") if key in given), None)
        return given if made is None else _maker(made)
    if isinstance(given, MethodType):
        return given.__func__
    return given if isinstance(given, type | FunctionType) else type(given)


def _name(given: Any) -> str:
    own = getattr(given, "__name__", None)
    return str(own).strip("<>") if own else type(given).__name__


def _file(given: Any) -> str:
    """What Python calls the file of its code."""
    maker = _maker(given)
    codes = [maker.__code__] if isinstance(maker, FunctionType) else _codes_of(maker)
    for code in codes:
        return code.co_filename
    module = sys.modules.get(getattr(maker, "__module__", ""))
    return str(getattr(module, "__file__", None) or NO_FILE)


def _codes_of(kind: Any) -> Iterator[CodeType]:
    for value in vars(kind).values() if isinstance(kind, type) else ():
        if isinstance(value, FunctionType) and value.__module__ == kind.__module__:
            yield value.__code__


def _relative(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _cells() -> dict[str, Cell]:
    """The cells that a running notebook has executed, by what Python calls their file."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    numbers = getattr(getattr(shell, "compile", None), "_filename_map", {})
    return {
        file: Cell(f"In[{number}]", "".join(linecache.getlines(file)))
        for file, number in numbers.items()
    }


# --- Its framework --------------------------------------------------------------------------------


def _framework(given: Any, label: str, option: str) -> str:
    found = {FRAMEWORKS[package] for package in _packages(given, set()) if package in FRAMEWORKS}
    if len(found) != 1:
        what = "both frameworks" if found else "neither Keras nor torch"
        raise UsageError(f'{label} uses {what}: say which with {option}="keras" or "torch"')
    return found.pop()


def _packages(thing: Any, seen: set[int]) -> Iterator[str]:
    """Top-level packages that an object is made of, its classes first of all."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Mapping):
        for value in thing.values():
            yield from _packages(value, seen)
    elif isinstance(thing, ModuleType):
        yield _top(thing.__name__)
    elif isinstance(thing, FunctionType):
        yield from _packages_of_function(thing, seen)
    elif isinstance(thing, MethodType):
        yield from _packages(thing.__func__, seen)
    else:
        kind = thing if isinstance(thing, type) else type(thing)
        bases = {_top(base.__module__) for base in kind.__mro__}
        yield from bases
        if _is_own(kind.__module__) and bases.isdisjoint(FRAMEWORKS):
            for value in vars(kind).values():
                if isinstance(value, FunctionType):
                    yield from _packages(value, seen)


def _packages_of_function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    if not _is_own(function.__module__):
        yield _top(function.__module__)
        return
    for code in _nested(function.__code__):
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME":
                yield _top(str(instruction.argval))
        for name in code.co_names:
            if name in function.__globals__:
                yield from _packages(function.__globals__[name], seen)
    for cell in function.__closure__ or ():
        yield from _packages(cell.cell_contents, seen)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _top(module: str | None) -> str:
    return str(module or "").partition(".")[0]


def _is_own(module: str | None) -> bool:
    """Whether a module is the user's: no installed package, and none of Python's own."""
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    if file is None:
        return module == "__main__"
    paths = sysconfig.get_paths()
    foreign = {Path(paths[key]).resolve() for key in ("stdlib", "purelib", "platlib")}
    return not foreign & set(Path(file).resolve().parents)


# --- Its pickle -----------------------------------------------------------------------------------


def _pickled(given: Any, label: str) -> bytes:
    """With the user's own code in it, since a worker need not find its module.

    Raises
    ------
    UsageError
        It cannot be pickled; with the part of it that cannot.
    """
    with _by_value(_maker(given)):
        try:
            return _dumped(given)
        except Exception as error:
            part = _culprit(given)
            raise UsageError(
                f"{label}: {part or 'it'} cannot be pickled, which is to take it into the process "
                f"of its framework: {type(error).__name__}: {error}\n"
                f"Make it inside the function or class that you give, or give the name of a file."
            ) from None


def _code(code: CodeType) -> Any:
    """As cloudpickle has it, but with the name of its file, by which errors name a line."""
    make, given, *rest = cloudpickle.Pickler.dispatch_table[CodeType](code)
    given = tuple(code.co_filename if part == DYNAMIC else part for part in given)
    return (make, given, *rest)


class _Pickler(cloudpickle.Pickler):
    dispatch_table: ClassVar[Any] = ChainMap({CodeType: _code}, cloudpickle.Pickler.dispatch_table)


def _dumped(given: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(given)
    return file.getvalue()


@contextmanager
def _by_value(maker: Any) -> Iterator[None]:
    module = sys.modules.get(getattr(maker, "__module__", None) or "")
    own = module is not None and module.__name__ != "__main__" and _is_own(module.__name__)
    if own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        if own:
            cloudpickle.unregister_pickle_by_value(module)


def _culprit(given: Any) -> str | None:
    """Which part of an object cannot be pickled, in words."""
    if isinstance(given, Mapping):
        parts = {f"what stands under {key!r}": value for key, value in given.items()}
    elif isinstance(given, FunctionType):
        names = {name for code in _nested(given.__code__) for name in code.co_names}
        globals_ = given.__globals__
        parts = {f"{name!r}, which it uses": globals_[name] for name in names if name in globals_}
    else:
        parts = {f"its {name!r}": value for name, value in getattr(given, "__dict__", {}).items()}
    for words, value in parts.items():
        try:
            _dumped(value)
        except Exception:  # whatever a user's object raises
            return words
    return None
