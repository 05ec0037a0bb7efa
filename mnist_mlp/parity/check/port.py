"""`check`: a port against a specification, or against the original it was made of.

Against an original, both are judged. Whatever the original does that no specification can say
becomes part of the recipe by which its port is judged, so that "faithful" means faithful to the
original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.check.original import as_the_original, drop_shared_habits
from mnist_mlp.parity.check.read_spec import read_spec
from mnist_mlp.parity.check.side import PortEvidence, look_at_port, setting
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.check.verdict import port_outcome
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.ports.protocol import PortFacts
from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker

Say = Callable[[str], None]


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

        first: PortEvidence | None = None
        given = setting(spec, dataset)
        if original is not None:
            worker = host(original)
            facts = opened(worker, original, given)
            spec, _ = read_spec(worker, facts, dataset, spec)
            given = setting(spec, dataset)
            say(f"running {original.text}")
            first = look_at_port(worker, facts, given, dataset, label=original.text, side="a")
            worker.close()
            given = as_the_original(first, given)
        worker = host(port)
        facts = opened(worker, port, given)
        say(f"running {port.text}")
        second = look_at_port(
            worker, facts, given, dataset, label=port.text, side="b", original=first
        )
        if first is not None:
            drop_shared_habits(first, second)
        prices = _cost(worker, given, say) if cost else None
    return Checked(port_outcome(first, second, given, spec), spec, prices)


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


def _cost(worker: Worker, given: Setting, say: Say) -> dict[str, float]:
    """Accuracy after the specification's epochs, from the port's own start and from the plan's."""
    say("training the port freely, from its own initial weights")
    own = worker.train_port(given.plan, given.data, seed=given.plan.spec.seed, native=True)
    say("training the port freely, from the specification's initial weights")
    planned = worker.train_port(given.plan, given.data, seed=given.plan.spec.seed, native=False)
    return {"as_it_is": own, "with_specified_start": planned}
