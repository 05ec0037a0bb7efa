"""`check`: a port against a specification, or against the original it was made of.

Against an original, both are judged. Whatever the original does that no specification can say
becomes part of the recipe by which its port is judged, so that "faithful" means faithful to the
original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import BackendError, UsageError, UserCodeError
from mnist_mlp.parity.check import by_settings, supported
from mnist_mlp.parity.check.by_pair import Side, check_pair, epochs_breaks
from mnist_mlp.parity.check.original import as_the_original, drop_shared_habits
from mnist_mlp.parity.check.read_spec import ReadSpec, read_spec
from mnist_mlp.parity.check.side import PortEvidence, look_at_port, setting
from mnist_mlp.parity.check.steps import Setting, begin_reference
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.check.verdict import port_outcome
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.ports.protocol import PortFacts
from mnist_mlp.ports.user_code import is_script
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
    timeout: float | None = None,
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
    timeout : float, optional
        Most seconds that a user's code may run without a report, such as a judged step.

    Raises
    ------
    TimeLimitError
        It ran longer; with the line that it was at.
    """
    with ExitStack() as open_workers:

        def host(target: Target) -> Worker:
            say(f"starting {target.framework} for {target.text}")
            for line in target.left_out:
                say(f"left out, as it is not Python: {line}")
            return open_workers.enter_context(
                Worker(
                    target.framework,
                    accelerator="cpu",
                    threads=threads,
                    verbose=verbose,
                    timeout=timeout,
                    arguments=target.arguments,
                )
            )

        def side(target: Target) -> Side:
            worker = host(target)
            return Side(target, worker, worker.describe_port(target.text))

        def opened(worker: Worker, target: Target, given: Setting, *, measure: bool) -> PortFacts:
            shape = image_shape or (given.data.train_images.shape[1],)
            return look_and_open(worker, target, given, dataset, shape, measure=measure)

        first: PortEvidence | None = None
        theirs: Side | None = None
        given = setting(spec, dataset)
        if original is None:
            begin_reference(given)
        else:
            ours = side(original)
            theirs = side(port) if is_script(port.text) else None
            loops = [each.described.loop for each in (ours, theirs) if each is not None]
            if any(loops) or supported.needs_a_pair(ours.described, _needs(given, dataset)):
                if reason := supported.refusal_of_pair(ours.described, label=original.text):
                    raise UsageError(reason)
                if cost:
                    raise UsageError("--cost trains dense networks under cross-entropy only")
                outcome = check_pair(
                    ours,
                    theirs or side(port),
                    spec=spec,
                    dataset=dataset,
                    image_shape=image_shape,
                    say=say,
                )
                return Checked(outcome, spec)
            worker = ours.worker
            facts = opened(worker, original, given, measure=True)
            read = read_spec(worker, facts, dataset, spec, label=original.text)
            spec, given = read.spec, setting(read.spec, dataset)
            begin_reference(given)
            say(f"running {original.text}")
            without = replace(given, passed_by=supported.kinds_passed_by(facts.layers))
            first = look_at_port(worker, facts, without, dataset, label=original.text, side="a")
            first.remarks = read.remarks
            worker.close()
        worker = theirs.worker if theirs else host(port)
        facts = opened(worker, port, given, measure=False)
        if first is not None and by_settings.hides(first, facts):
            second = PortEvidence(label=port.text, framework=facts.framework, facts=facts)
            by_settings.compare_unrun(first, second, given)
            prices = _cost(worker, given, say) if cost else None
            return Checked(port_outcome(first, second, given, spec), spec, prices)
        if first is not None:
            given = as_the_original(first, given)
            if supported.compared_by_settings(first.facts.layers):
                given = replace(given, passed_by=supported.kinds_passed_by(facts.layers))
        say(f"running {port.text}")
        second = look_at_port(
            worker, facts, given, dataset, label=port.text, side="b", original=first
        )
        if first is not None:
            _beside_the_steps(first, second, (original, port))
        prices = _cost(worker, given, say) if cost else None
    return Checked(port_outcome(first, second, given, spec), spec, prices)


def _beside_the_steps(
    first: PortEvidence, second: PortEvidence, targets: tuple[Target | None, Target]
) -> None:
    """What original and port differ in, and do alike, outside of judged steps."""
    drop_shared_habits(first, second)
    by_settings.compare(first, second)
    original, port = targets
    assert original is not None
    second.breaks += epochs_breaks(original, port, first.facts.epochs, second.facts.epochs)


def look_and_open(
    worker: Worker,
    target: Target,
    given: Setting,
    dataset: Dataset,
    shape: tuple[int, ...],
    *,
    measure: bool,
) -> PortFacts:
    """Look at a model, then run one batch of it; `measure` says that it is an original.

    Raises
    ------
    UsageError
        It cannot be run, or nothing can be measured by it; with what can.
    """
    needs = _needs(given, dataset)
    looked = worker.describe_port(target.text)
    refuse = supported.refusal if measure else supported.refusal_of_port
    if reason := refuse(looked, needs, label=target.text):
        raise UsageError(reason)
    try:
        facts = worker.open_port(target.text, data=given.data, image_shape=shape)
    except (BackendError, UserCodeError) as error:
        reason = supported.after_a_failure(looked, needs, label=target.text)
        if reason is None:
            raise
        raise UsageError(f"{reason}\nIt failed with: {error}") from error
    if measure and (reason := supported.refusal_of_layers(facts, needs, label=target.text)):
        raise UsageError(reason)
    return facts


def _needs(given: Setting, dataset: Dataset) -> supported.Needs:
    return supported.Needs(given.data.train_images.shape[1], dataset.classes)


def original_spec(
    original: Target,
    *,
    spec: Spec,
    dataset: Dataset,
    image_shape: tuple[int, ...] = (),
    timeout: float | None = None,
    say: Say = lambda _: None,
) -> ReadSpec:
    """The specification read off an original; `spec` gives what it does not tell."""
    say(f"starting {original.framework} for {original.text}")
    with Worker(
        original.framework, accelerator="cpu", timeout=timeout, arguments=original.arguments
    ) as worker:
        given = setting(spec, dataset)
        shape = image_shape or (given.data.train_images.shape[1],)
        facts = look_and_open(worker, original, given, dataset, shape, measure=True)
        read = read_spec(worker, facts, dataset, spec, label=original.text)
        return replace(read, remarks=(*supported.not_judged(facts, original=True), *read.remarks))


def _cost(worker: Worker, given: Setting, say: Say) -> dict[str, float]:
    """Accuracy after the specification's epochs, from the port's own start and from the plan's."""
    say("training the port freely, from its own initial weights")
    own = worker.train_port(given.plan, given.data, seed=given.plan.spec.seed, native=True)
    say("training the port freely, from the specification's initial weights")
    planned = worker.train_port(given.plan, given.data, seed=given.plan.spec.seed, native=False)
    return {"as_it_is": own, "with_specified_start": planned}
