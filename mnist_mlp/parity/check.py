"""`check`: a port against a specification, or against the original it was made of.

Against an original, both are judged. Whatever the original does that no specification can say
becomes part of the recipe by which its port is judged, so that "faithful" means faithful to the
original.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.catalogue import described
from mnist_mlp.parity.evidence import RUNGS, STEP_RUNGS, UNKNOWN, Break, Cause
from mnist_mlp.parity.explain import LINKS
from mnist_mlp.parity.judge import LIMITS
from mnist_mlp.parity.port_side import PortSeen, look_at_port, setting
from mnist_mlp.parity.port_steps import Setting
from mnist_mlp.parity.proof import Proof
from mnist_mlp.parity.read_spec import read_spec
from mnist_mlp.parity.unseen import not_exercised
from mnist_mlp.parity.verdict import Outcome, Rung, Verdict, ordered
from mnist_mlp.ports import PortFacts
from mnist_mlp.spec import Spec
from mnist_mlp.worker import Worker

FRAMEWORKS = {
    "keras": "keras",
    "tensorflow": "keras",
    "torch": "torch",
    "lightning": "torch",
    "pytorch_lightning": "torch",
}
"""Top-level packages whose import tells a file's framework, and the backend that hosts it."""

Say = Callable[[str], None]


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
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=file)
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from None
    except SyntaxError as error:
        raise UsageError(f"{file}:{error.lineno}: not valid Python: {error.msg}") from None
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


@dataclass(frozen=True)
class Checked:
    """The outcome, the specification it was judged by, and what the port's start costs."""

    outcome: Outcome
    spec: Spec
    cost: Mapping[str, float] | None = None


def check_port(
    port: Target,
    *,
    spec: Spec,
    dataset: Dataset,
    original: Target | None = None,
    image_shape: tuple[int, ...] = (),
    threads: int = 1,
    cost: bool = False,
    verbose: bool = False,
    say: Say = lambda _: None,
) -> Checked:
    """Put a port on the ladder.

    Parameters
    ----------
    spec : Spec
        What to judge by; with an original, what the original does not tell.
    original : Target, optional
        The model the port was made of.
    image_shape : tuple of int
        Shape of one input as the port wants it; flat by default.
    cost : bool
        Also train the port freely, from its own initial weights and from the plan's.
    """
    with ExitStack() as open_workers:

        def host(target: Target) -> Worker:
            say(f"starting {target.framework} for {target.text}")
            return open_workers.enter_context(
                Worker(target.framework, accelerator="cpu", threads=threads, verbose=verbose)
            )

        def opened(worker: Worker, target: Target, given: Setting) -> PortFacts:
            shape = image_shape or (given.data.train_images.shape[1],)
            return worker.open_port(target.text, data=given.data, image_shape=shape)

        first: PortSeen | None = None
        given = setting(spec, dataset)
        if original is not None:
            worker = host(original)
            facts = opened(worker, original, given)
            spec, _ = read_spec(worker, facts, dataset, spec)
            given = setting(spec, dataset)
            say(f"running {original.text}")
            first = look_at_port(worker, facts, given, label=original.text, side="a")
            worker.close()
            given = _as_the_original(first, given)
        worker = host(port)
        facts = opened(worker, port, given)
        say(f"running {port.text}")
        second = look_at_port(worker, facts, given, label=port.text, side="b")
        if first is not None:
            _same_habits(first, second)
        prices = _cost(worker, given, say) if cost else None
    return Checked(_outcome(first, second, given, spec), spec, prices)


def original_spec(
    original: Target,
    *,
    spec: Spec,
    dataset: Dataset,
    image_shape: tuple[int, ...] = (),
    say: Say = lambda _: None,
) -> tuple[Spec, tuple[str, ...]]:
    """The specification read off an original, with remarks; `spec` gives what it does not tell."""
    say(f"starting {original.framework} for {original.text}")
    with Worker(original.framework, accelerator="cpu") as worker:
        given = setting(spec, dataset)
        shape = image_shape or (given.data.train_images.shape[1],)
        facts = worker.open_port(original.text, data=given.data, image_shape=shape)
        return read_spec(worker, facts, dataset, spec)


def _as_the_original(first: PortSeen, given: Setting) -> Setting:
    """Judge the port by what the original really does."""
    given = replace(given, draws=first.facts.draws, logits=first.logits)
    if _blind(first):  # where it goes, and what it answers in the end, measures nothing
        given = replace(given, logits=None)
        first.found = {}
    if first.explained is None or first.explained.recipe is given.recipe:
        return given
    return replace(given, recipe=first.explained.recipe, plain=given.recipe, way=first.found)


def _same_habits(first: PortSeen, second: PortSeen) -> None:
    """What original and port do alike, outside the steps, is no difference between them."""

    def habits(seen: PortSeen) -> list[tuple[str, str | None, Cause]]:
        """By rung and tensor; what has no name is not the same twice."""
        return [
            (item.rung, item.tensor, item.cause)
            for item in seen.breaks
            if item.cause.name != UNKNOWN
            and (item in seen.of_loader or item.rung not in (*STEP_RUNGS, "init"))
        ]

    theirs = habits(first)
    second.breaks = [
        item
        for item in second.breaks
        if (item.rung, item.tensor, item.cause) not in theirs and not _gathers_alike(first, item)
    ]
    if first.of_loader and second.facts.order is None:
        told = ", ".join(item.cause.name for item in first.of_loader)
        second.missing["order"] = f"the original's own loader ({told}) has none beside it"


def _gathers_alike(first: PortSeen, item: Break) -> bool:
    """Whether both make an update once every so many steps: Keras gathers in the optimizer,
    Lightning in the gradients."""
    if item.cause.name != "gradient_accumulation":
        return False
    every = (item.cause.value or "").partition(",")[0]
    return any(
        other.cause.name == item.cause.name and (other.cause.value or "").startswith(every)
        for other in first.breaks
    )


def _cost(worker: Worker, given: Setting, say: Say) -> dict[str, float]:
    """Accuracy after the specification's epochs, from the port's own start and from the plan's."""
    say("training the port freely, from its own initial weights")
    own = worker.train_port(given.plan, given.data, seed=given.plan.spec.seed, native=True)
    say("training the port freely, from the specification's initial weights")
    planned = worker.train_port(given.plan, given.data, seed=given.plan.spec.seed, native=False)
    return {"as_it_is": own, "with_specified_start": planned}


# --- The outcome ----------------------------------------------------------------------------------


def _outcome(first: PortSeen | None, second: PortSeen, given: Setting, spec: Spec) -> Outcome:
    breaks = tuple(_described(item, second, given, spec) for item in ordered(second.breaks))
    noted = tuple(described(cause, framework=second.framework) for cause in second.noted)
    blind = _blind(first)
    verdict, text = _verdict(breaks, second, blind)
    missing = {**second.missing, **dict.fromkeys(blind, "the original itself is unknown here")}
    label = first.label if first else f"specification {spec.name}"
    return Outcome(
        verdict=verdict,
        text=text,
        sides=({"label": label, "path": label}, {"label": second.label, "path": second.label}),
        rungs=_rungs(breaks, second, missing, noted),
        breaks=breaks,
        noted=(*noted, *_of_the_original(first)),
        not_exercised=(
            *_not_exercised(second, given),
            *second.facts.left_out,
            *(f"{rung}: {why}" for rung, why in missing.items()),
        ),
        predictions_total=0 if "predictions" in missing else len(given.data.test_labels),
        predictions_different=second.different,
        report_identical=None if _stopped(second) else second.different == 0,
        proof=Proof("not_run", reason="a port is judged step by step"),
    )


def _described(item: Break, second: PortSeen, given: Setting, spec: Spec) -> Break:
    """With its cure: in the specification's numbers, or whatever the original has instead."""
    cause = described(item.cause, framework=second.framework, spec=spec)
    links = LINKS.get(item.rung, ())
    other = given.plain is not None and any(
        getattr(given.recipe, link) is not getattr(given.plain, link) for link in links
    )
    if other or (given.draws and item.rung == "init"):
        cause = replace(cause, fix="by hand, do here what the original does")
    return replace(item, cause=cause)


def _stopped(seen: PortSeen) -> bool:
    """Whether predictions were not looked at, because something broke before."""
    return bool(seen.breaks) and not any(item.rung == "predictions" for item in seen.breaks)


def _blind(first: PortSeen | None) -> set[str]:
    """Rungs at which the original does something that has no name: nobody can be held to it."""
    if first is None:
        return set()
    found = {
        item.rung for item in first.breaks if item.rung in STEP_RUNGS and item.cause.name == UNKNOWN
    }
    return found | {"trajectory", "predictions"} if found else found


def _of_the_original(first: PortSeen | None) -> tuple[Cause, ...]:
    if first is None:
        return ()
    return tuple(
        replace(item.cause, value=f"in the original: {item.cause.value or item.rung}")
        for item in first.breaks
    )


def _verdict(breaks: tuple[Break, ...], second: PortSeen, blind: set[str]) -> tuple[Verdict, str]:
    if breaks:
        names = ", ".join(dict.fromkeys(item.cause.name for item in breaks))
        return "different", f"The port is not faithful: {names}."
    if blind:
        return (
            "inconclusive",
            f"Nothing breaks, but rung {', '.join(sorted(blind))} has no measure.",
        )
    if second.explained is None:
        return "inconclusive", "No step could be judged."
    return "identical", "Every rung is clean: the port does what it should, down to rounding."


def _rungs(
    breaks: tuple[Break, ...],
    seen: PortSeen,
    missing: Mapping[str, str],
    noted: tuple[Cause, ...],
) -> tuple[Rung, ...]:
    margins = seen.explained.margins if seen.explained else {}
    of_rung = {
        "reciprocal_scaling": "data",
        "own_shuffle": "order",
        "validation_moves_order": "order",
    }
    remarks = {of_rung[c.name]: c.name for c in noted if c.name in of_rung}
    absent = {
        "trajectory": "a port leaves no run folder",
        "report": "a port leaves no run folder",
    }
    if _stopped(seen):
        absent["predictions"] = "an earlier rung breaks"
    rungs = []
    for name in RUNGS:
        mine = [item for item in breaks if item.rung == name]
        margin = margins.get(name) if name in LIMITS else None
        if mine:
            told = ", ".join(dict.fromkeys(item.cause.name for item in mine))
            rungs.append(Rung(name, "broken", None, told))
        elif name in remarks:
            rungs.append(Rung(name, "noted", margin, remarks[name]))
        elif name in missing or name in absent:
            rungs.append(Rung(name, "not_exercised", None, missing.get(name) or absent[name]))
        else:
            rungs.append(Rung(name, "clean", margin))
    return tuple(rungs)


def _not_exercised(seen: PortSeen, given: Setting) -> list[str]:
    return not_exercised(seen.steps, given.plan.spec)
