"""`check`: a port against a specification, or against the original it was made of.

Against an original, both are judged. Whatever the original does that no specification can say
becomes part of the recipe by which its port is judged, so that "faithful" means faithful to the
original.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cache

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import BackendError, UsageError, UserCodeError
from mnist_mlp.parity.check import by_settings, supported
from mnist_mlp.parity.check.by_pair import check_pair
from mnist_mlp.parity.check.cost import epoch_ends, of_port
from mnist_mlp.parity.check.original import as_the_original, drop_shared_habits
from mnist_mlp.parity.check.pair_epochs import epochs_breaks
from mnist_mlp.parity.check.pair_side import Side
from mnist_mlp.parity.check.read_spec import ReadSpec, read_spec
from mnist_mlp.parity.check.side import PortEvidence, look_at_port, setting
from mnist_mlp.parity.check.steps import Setting, begin_reference, first_run
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.check.verdict import port_outcome
from mnist_mlp.parity.cost import Cost
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.parity.steps.trajectory import one_blas_thread_throughout
from mnist_mlp.ports.journal import as_they_were
from mnist_mlp.ports.protocol import PortDescription, PortFacts
from mnist_mlp.ports.user_code import is_script
from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker

Say = Callable[[str], None]


@dataclass(frozen=True)
class Checked:
    """The outcome, the specification it was judged by, and what the difference costs.

    With `by_original`, no specification judged it, but the original alone.
    """

    outcome: Outcome
    spec: Spec
    cost: Cost | None = None
    by_original: bool = False

    def _repr_html_(self) -> str:
        """How a notebook shows it, with the curves of whole runs if there are some."""
        shown = self.outcome._repr_html_()
        if self.cost is None:
            return shown
        from mnist_mlp.report.cost import notebook_html  # it draws, which takes a second to import

        return shown + notebook_html(self.cost)


def check_port(
    port: Target,
    *,
    spec: Spec,
    dataset: Dataset | Callable[[], Dataset],
    original: Target | None = None,
    image_shape: tuple[int, ...] = (),
    threads: int = 1,
    cost: bool = False,
    verbose: bool = False,
    timeout: float | None = None,
    in_place: bool = False,
    say: Say = lambda _: None,
) -> Checked:
    """Put a port on the ladder.

    Parameters
    ----------
    spec : Spec
        What to judge by; with an original, what the original does not tell.
    original : Target, optional
        The model the port was made of.
    dataset : Dataset, or a function that loads it
        A function is called while the frameworks are imported.
    image_shape : tuple of int
        Shape of one input as the port wants it; flat by default.
    cost : bool
        Also train both sides freely; a dense port from its own initial weights and from the
        specified ones.
    timeout : float, optional
        Most seconds that a user's code may run without a report, such as a judged step.
    in_place : bool
        Let what the user's code writes stay. By default all files are put back as they were.

    Raises
    ------
    TimeLimitError
        It ran longer; with the line that it was at.
    """
    # Judging is matrix products, too, and the workers are busy meanwhile.
    with one_blas_thread_throughout(), ThreadPoolExecutor(1) as pool, ExitStack() as open_workers:
        journal = None if in_place else open_workers.enter_context(as_they_were(say))
        # Closing the workers ends a call that runs in the pool.
        open_workers.callback(pool.shutdown, wait=False, cancel_futures=True)

        def started(target: Target) -> Worker:
            _announce(target, say)
            worker = open_workers.enter_context(
                Worker(
                    target.framework,
                    accelerator="cpu",
                    threads=threads,
                    verbose=verbose,
                    timeout=timeout,
                    arguments=target.arguments,
                    model=target.model,
                    live=target.live,
                    journal=journal,
                )
            )
            worker.start_describing(target.text)
            return worker

        @cache
        def looked_at_port() -> PortDescription:
            return worker.describe_port(port.text)

        def opened(given: Setting) -> PortFacts:
            """The port, after one batch."""
            return open_described(
                *(worker, port, looked_at_port(), given, rows),
                _shape(image_shape, given),
                measure=False,
            )

        # Both import their frameworks while this process loads the data.
        worker_a = None if original is None else started(original)
        worker = started(port)
        rows = dataset() if callable(dataset) else dataset
        given = setting(spec, rows)
        if original is None or worker_a is None:
            begin_reference(given, epoch_ends(given) if cost else ())
            facts = opened(given)
            say(f"running {port.text}")
            second = look_at_port(worker, facts, given, rows, label=port.text, side="b")
            prices = of_port(worker, given, original=None, say=say) if cost else None
            return Checked(port_outcome(None, second, given, spec), spec, prices)
        looked = worker_a.describe_port(original.text)
        loops = [looked.loop]
        if is_script(port.text):  # no other port has a loop, and its description can wait
            loops.append(looked_at_port().loop)
        if (
            any(loops)
            or supported.needs_a_pair(looked, _needs(given, rows))
            # A torch module does not declare its outputs; its port in Keras does.
            or (looked.framework == "torch" and len(looked_at_port().outputs) > 1)
        ):
            _refuse_pair(original, looked)
            outcome, prices = check_pair(
                Side(original, worker_a, looked),
                Side(port, worker, looked_at_port()),
                spec=spec,
                dataset=rows,
                image_shape=image_shape,
                cost=cost,
                say=say,
            )
            return Checked(outcome, spec, prices, by_original=True)
        facts_a = open_described(
            *(worker_a, original, looked, given, rows), _shape(image_shape, given), measure=True
        )
        read = read_spec(worker_a, facts_a, rows, spec, label=original.text)
        spec, given = read.spec, setting(read.spec, rows)
        begin_reference(given)
        # The port runs beside its original. What the original does only matters for how the port's
        # run is judged.
        opening = pool.submit(opened, given)
        running = pool.submit(lambda: first_run(worker, _passing(given, facts_a, opening.result())))
        say(f"running {original.text} and {port.text}")
        without = replace(given, passed_by=supported.kinds_passed_by(facts_a.layers))
        first = look_at_port(worker_a, facts_a, without, rows, label=original.text, side="a")
        first.remarks = read.remarks
        if not cost:
            worker_a.close()
        facts = opening.result()
        if by_settings.hides(first, facts):
            second = PortEvidence(label=port.text, framework=facts.framework, facts=facts)
            by_settings.compare_unrun(first, second, given)
        else:
            given = _passing(as_the_original(first, given), facts_a, facts)
            second = look_at_port(
                *(worker, facts, given, rows),
                label=port.text,
                side="b",
                original=first,
                ran=running.result,
            )
            _beside_the_steps(first, second, (original, port))
        wait([running])  # a worker answers one call at a time
        prices = (
            of_port(worker, given, original=(original.text, worker_a), say=say) if cost else None
        )
    return Checked(port_outcome(first, second, given, spec), spec, prices)


def _refuse_pair(original: Target, looked: PortDescription) -> None:
    if reason := supported.refusal_of_pair(looked, label=original.text):
        raise UsageError(reason)


def _passing(given: Setting, original: PortFacts, port: PortFacts) -> Setting:
    """Pass by those layers of the port that are only compared by their settings, as are its
    original's."""
    if not supported.compared_by_settings(original.layers):
        return given
    return replace(given, passed_by=supported.kinds_passed_by(port.layers))


def _beside_the_steps(
    first: PortEvidence, second: PortEvidence, targets: tuple[Target, Target]
) -> None:
    """What original and port differ in, and do alike, outside of judged steps."""
    drop_shared_habits(first, second)
    by_settings.compare(first, second)
    second.breaks += epochs_breaks(*targets, first.facts.epochs, second.facts.epochs)


def open_described(
    worker: Worker,
    target: Target,
    looked: PortDescription,
    given: Setting,
    dataset: Dataset,
    shape: tuple[int, ...],
    *,
    measure: bool,
) -> PortFacts:
    """Run one batch of a described model; `measure` says that it is an original.

    Raises
    ------
    UsageError
        It cannot be run, or nothing can be measured by it; with what can.
    """
    needs = _needs(given, dataset)
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


def _shape(image_shape: tuple[int, ...], given: Setting) -> tuple[int, ...]:
    """The shape of one input: flat by default."""
    return image_shape or (given.data.train_images.shape[1],)


def _needs(given: Setting, dataset: Dataset) -> supported.Needs:
    return supported.Needs(given.data.train_images.shape[1], dataset.classes)


def _announce(target: Target, say: Say) -> None:
    say(f"starting {target.framework} for {target.text}")
    for line in target.left_out:
        say(f"left out, as it is not Python: {line}")


def original_spec(
    original: Target,
    *,
    spec: Spec,
    dataset: Dataset,
    image_shape: tuple[int, ...] = (),
    timeout: float | None = None,
    in_place: bool = False,
    say: Say = lambda _: None,
) -> ReadSpec:
    """The specification read off an original; `spec` gives what it does not tell."""
    _announce(original, say)
    with (
        nullcontext() if in_place else as_they_were(say) as journal,
        Worker(
            original.framework,
            accelerator="cpu",
            timeout=timeout,
            arguments=original.arguments,
            model=original.model,
            live=original.live,
            journal=journal,
        ) as worker,
    ):
        given = setting(spec, dataset)
        facts = open_described(
            *(worker, original, worker.describe_port(original.text), given, dataset),
            _shape(image_shape, given),
            measure=True,
        )
        read = read_spec(worker, facts, dataset, spec, label=original.text)
        return replace(read, remarks=(*supported.not_judged(facts, original=True), *read.remarks))
