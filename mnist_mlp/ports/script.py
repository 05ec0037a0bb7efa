"""Run a user's script as Python would, up to its training.

The script runs in a module `__main__` of its own. The backend of its framework puts something else
in the place of what trains (`Model.fit`, `Trainer.fit`). At the call, what it is called with is
kept, and the script ends there: a `Caught` unwinds it. So nothing happens of what it would do after
its training.

A script may be run again, for a model with other initial weights. Its own calls that set a seed
then set another one.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

import numpy as np

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.source import read_source
from mnist_mlp.ports.user_code import belongs_to_user, path_of, split_target, user_errors

ARGUMENTS = "MNIST_MLP_SCRIPT_ARGUMENTS"
"""Environment variable of a worker: what its user's script finds in `sys.argv`, as JSON."""

MODEL = "MNIST_MLP_SCRIPT_MODEL"
"""Environment variable of a worker: the name of the model whose training is meant."""


class Caught(BaseException):
    """Unwinds a script whose training was caught.

    A `BaseException`, so that a script's handlers of ordinary errors don't swallow it.
    """


class Catch:
    """Waits for a training of a script: the first, or the one that its target names.

    With a `model`, only the trainings of the model of that name count.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.number = int(split_target(target)[1] or 1)
        self.model = os.environ.get(MODEL, "")
        self.trained: list[list[str]] = []
        """All names of each model whose training has begun, the best first."""
        self.functions: set[str] = set()
        """The user's functions in which the training began."""
        self.seen = 0
        self.found: Any = None
        self.loops: list[int | None] = []
        """Loops of the script that it is in now, in all its functions: how often each runs."""
        self.on_left: Callable[[], None] = lambda: None
        """Called when it leaves the outermost, but not if an error ends it."""
        self._handled: list[BaseException | None] = []
        self._phases: set[int] = set()
        """Which of the loops go over names, as of training and validation: they repeat nothing."""

    def is_meant(self, model: Any) -> bool:
        """Whether a training of a model, if it begins now, is the one."""
        return self._counts(names_of(model, path_of(self.target))) and self.seen + 1 >= self.number

    def _counts(self, names: Sequence[str]) -> bool:
        return not self.model or self.model in names

    def offer(self, make: Callable[[], Any], model: Any = None) -> None:
        """A training of a model begins. It returns if this is not the one, and is to be run.

        `make` gives what is kept of it. Without its `model`, it is the one that was meant.

        Raises
        ------
        Caught
            This is the one.
        """
        if self.found is None:
            if model is not None:
                names = names_of(model, path_of(self.target))
                self.trained.append(names)
                if not self._counts(names):
                    return
            self.seen += 1
            if self.seen < self.number:
                return
            self.found = make()
            own = _own_frames(path_of(self.target))
            self.functions = {frame.f_code.co_name for frame in own}
        self.end()

    def end(self) -> NoReturn:
        """Unwind the script."""
        raise Caught

    def epochs_over(self, batches: int | None) -> int | None:
        """How often the loop runs in which the innermost stands, if that goes over so many batches,
        or over something without a length; None if that is not known."""
        loops = [n for depth, n in enumerate(self.loops) if depth not in self._phases]
        known = len(loops) > 1 and loops[-1] in (None, batches)
        return loops[-2] if known else None

    def names(self) -> dict[str, Callable[..., Any]]:
        """What the script's code is made to call (`_Unwound`)."""
        return {
            CAUGHT: lambda: self.found is not None,
            ENTERED: self._entered,
            OVER: self._over,
            LEFT: self._left,
        }

    def _entered(self) -> None:
        self.loops.append(None)
        self._handled.append(sys.exc_info()[1])

    def _over(self, iterable: Any) -> Any:
        """What the innermost loop goes over; not all such things have a length."""
        if isinstance(iterable, list | tuple) and all(isinstance(x, str) for x in iterable):
            self._phases.add(len(self.loops) - 1)
        if isinstance(iterable, Sized):
            with suppress(Exception):  # a data set's may raise
                self.loops[-1] = len(iterable)
        return iterable

    def _left(self) -> None:
        self.loops.pop()
        self._phases.discard(len(self.loops))
        raised = sys.exc_info()[1] is not self._handled.pop()
        if not self.loops and self.found is None and not raised:
            self.on_left()


def _own_frames(path: Path) -> Iterator[FrameType]:
    """Those of the user's code, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not run_script.__code__:
        if belongs_to_user(Path(frame.f_code.co_filename), path):
            yield frame
        frame = frame.f_back


def names_of(model: Any, path: Path) -> list[str]:
    """What a user may call a model: variables that hold it, the outermost first, its own name if it
    has one, and its class."""
    found: list[str] = []
    for frame in _own_frames(path):
        found[:0] = [
            name
            for name, value in frame.f_locals.items()
            if not name.startswith("_") and name != "self" and value is model
        ]
    own = getattr(model, "name", None)
    found += [own] if isinstance(own, str) else []
    return list(dict.fromkeys([*found, type(model).__name__]))


Watching = Callable[[Catch], AbstractContextManager[None]]


def run_script(target: str, watching: Watching) -> Any:
    """Run a script to its training; what was caught there, or None if it ends without.

    Parameters
    ----------
    watching : callable
        While its context lasts, whatever trains calls `Catch.offer`.

    Raises
    ------
    UserCodeError
        The script raised.
    UsageError
        It ended itself, or asks for input.
    """
    path = path_of(target)
    source = read_source(path)
    catch = Catch(target)
    module = ModuleType("__main__")
    module.__dict__.update(__file__=str(path), __builtins__=__builtins__)
    module.__dict__.update(catch.names())
    codes = []
    for piece, tree in zip(source.pieces, source.trees(), strict=True):
        unwound = ast.fix_missing_locations(_Unwound().visit(tree))
        codes.append(compile(unwound, piece.file, "exec", dont_inherit=True))
        if piece.file != str(path):  # a cell: Python finds its lines for a traceback here only
            lines = piece.text.splitlines(keepends=True)
            linecache.cache[piece.file] = (len(piece.text), None, lines, piece.file)
    with ExitStack() as stack:
        stack.enter_context(user_errors(path))
        stack.enter_context(_as_main(module, str(path)))
        stack.enter_context(watching(catch))
        try:
            for code in codes:
                exec(code, module.__dict__)
        except SystemExit as error:
            if catch.found is None:
                raise UsageError(_ended(error, target)) from None
        except EOFError as error:
            if catch.found is None:
                raise UsageError(
                    f"{path}: it asks for input, and there is none: {error}.\n"
                    f"Let it run without questions."
                ) from None
        except BaseException:
            if catch.found is None:
                raise
    return catch.found


def further_trainings(target: str, catch: Catch, is_model: Callable[[Any], bool]) -> list[str]:
    """Other models that the script trains, with their lines, as far as its code shows it: by `fit`,
    or in the same function.

    `is_model` tells a model of the framework from whatever else has a `fit`.
    """
    known = {name for names in catch.trained for name in names}
    bound = vars(sys.modules["__main__"])
    calls = [
        node
        for tree in read_source(path_of(target)).trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]
    found: dict[str, int] = {}
    for call in calls:
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "fit"):
            continue
        said = any(keyword.arg == "epochs" for keyword in call.keywords)
        by_trainer = "rainer" in ast.unparse(call.func.value)
        for thing, likely in ((call.func.value, said), *((x, by_trainer) for x in call.args[:1])):
            name = _name(thing)
            if is_model(bound[name]) if name in bound else likely:
                found.setdefault(name, call.lineno)
    again = [
        (call.lineno, dict(enumerate(call.args)) | {k.arg: k.value for k in call.keywords})
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in catch.functions
    ]
    places = {place for _, given in again for place, x in given.items() if _name(x) in known}
    for line, given in again:
        for place in places & given.keys():
            found.setdefault(_name(given[place]), line)
    lines = sorted((line, name) for name, line in found.items() if name and name not in known)
    return [f"{name} (line {line})" for line, name in lines]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def others_told(others: Sequence[str]) -> tuple[str, ...]:
    """That a script trains more than what is judged, and how to choose."""
    if not others:
        return ()
    return (f"the script's trainings of {', '.join(others)}, which --model NAME chooses",)


def untrained(target: str, catch: Catch, what: str) -> str:
    """That a script has not trained what was meant; `what` was never called."""
    path = path_of(target)
    if catch.model and catch.trained:
        names = ", ".join(dict.fromkeys(names[0] for names in catch.trained))
        often = "" if target == str(path) else f", or not as often as {target} says"
        return (
            f"{path}: it trains no model {catch.model!r}{often}, but {names}.\n"
            f"Choose one of these by --model NAME (--model-a of the original, --model-b of the "
            f"port)."
        )
    which = "" if target == str(path) else f", or not as often as {target} says"
    return (
        f"{path}: it ended without training: {what} was called{which}.\n"
        f"Name what makes the model instead: {path}:NAME"
    )


def _ended(error: SystemExit, target: str) -> str:
    text = f"{path_of(target)}: it ended itself before it trained (exit code {error.code})."
    if not script_arguments():
        text += '\nIf it needs arguments, give them: --args-a "..." to the original, --args-b "..."'
    return text


def script_arguments() -> list[str]:
    """Arguments for the script of this process."""
    return list(json.loads(os.environ.get(ARGUMENTS, "[]")))


@contextmanager
def _as_main(module: ModuleType, file: str) -> Iterator[None]:
    """As `python file` has it. The module stays, since its functions may be called later."""
    sys.modules["__main__"] = module
    os.environ.setdefault("MPLBACKEND", "agg")  # a window would wait for somebody to close it
    folder = str(path_of(file).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    before = sys.argv
    sys.argv = [file, *script_arguments()]
    try:
        yield
    finally:
        sys.argv = before


CAUGHT, ENTERED = "__training_was_caught__", "__loop_entered__"
OVER, LEFT = "__loop_over__", "__loop_left__"
"""Names in the script's module."""


class _Unwound(ast.NodeTransformer):
    """Lets `except:` and `finally` of a script pass by what unwinds it, and tells of its loops.

    Handlers would otherwise swallow it, or do what comes after the training.
    """

    def visit_Try(self, node: ast.Try) -> ast.Try:
        """Each handler begins with `if caught: raise`, and `finally` with `if not caught:`."""
        self.generic_visit(node)
        for handler in node.handlers:
            handler.body.insert(0, ast.If(_call(CAUGHT), [ast.Raise()], []))
        if node.finalbody:
            again = ast.UnaryOp(ast.Not(), _call(CAUGHT))
            node.finalbody = [ast.If(again, node.finalbody, [])]
        return node

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node, ast.For):
            node.iter = ast.copy_location(_call(OVER, node.iter), node.iter)
        left = ast.Try([node], [], [], [ast.Expr(_call(LEFT))])
        return [ast.copy_location(ast.Expr(_call(ENTERED)), node), ast.copy_location(left, node)]

    visit_For = visit_While = _loop  # noqa: N815 - the names are ast's


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


# --- Other seeds ----------------------------------------------------------------------------------


def shifted(seed: Any, by: int) -> Any:
    """Another seed; what is not a whole number stays."""
    return (seed + by) % 2**32 if isinstance(seed, int | np.integer) and by else seed


@contextmanager
def patched(owner: Any, **instead: Any) -> Iterator[None]:
    """Put something in the place of attributes, while this lasts."""
    own = {name: vars(owner)[name] for name in instead if name in vars(owner)}
    for name, value in instead.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in instead:
            if name in own:
                setattr(owner, name, own[name])
            else:
                delattr(owner, name)


@contextmanager
def other_seeds(by: int, more: Mapping[Any, tuple[str, ...]]) -> Iterator[None]:
    """Let every call that sets a seed set another, `by` further.

    `more` names functions of the framework by their module; their first argument is a seed.
    """
    places = {random: ("seed",), np.random: ("seed", "default_rng"), **more}
    with ExitStack() as stack:
        for owner, names in places.items() if by else ():
            instead = {name: _shifting(getattr(owner, name), by) for name in names}
            stack.enter_context(patched(owner, **instead))
        yield


def _shifting(own: Callable[..., Any], by: int) -> Callable[..., Any]:
    def seeded(*args: Any, **options: Any) -> Any:
        if args:
            args = (shifted(args[0], by), *args[1:])
        if "seed" in options:
            options["seed"] = shifted(options["seed"], by)
        return own(*args, **options)

    return seeded
