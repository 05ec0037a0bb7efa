"""Causes by experiment: what two models' settings differ in is tried on the port.

A hypothesis is a change of the port and the name of what it mends. It is taken only if, with the
change in effect, the step is taken again and the difference is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from mnist_mlp.errors import MnistMlpError
from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair import (
    clip_hypotheses,
    constraints,
    layer_hypotheses,
    loss_hypotheses,
    losses,
    optimizers,
    sequences,
)
from mnist_mlp.parity.pair.judge import STAGES, Finding, Judged
from mnist_mlp.parity.pair.lengths import of_padding
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.updates import Hypothesis, Optimizers
from mnist_mlp.ports.pair import Mend

TRIALS = 60
"""Experiments for one difference at most; each is a run of a few steps."""

TOGETHER = 3
"""So many changes are tried together, before all of them."""


CHAIN = ("forward", "loss", "gradient")
"""Stages of which each makes the next differ; update and state are judged from equal inputs."""


def group_of(finding: Finding) -> tuple[str, ...]:
    """The stages that are one chain with a finding's."""
    return CHAIN if finding.stage in CHAIN else (finding.stage,)


def first_of(judged: Judged, group: Sequence[str]) -> Finding | None:
    """The first finding of a group of stages."""
    found = [judged.findings[stage] for stage in group if stage in judged.findings]
    return min(found, key=lambda f: (STAGES.index(f.stage), f.key), default=None)


def explain(
    finding: Finding, run: PairRun, mended: tuple[Mend, ...]
) -> tuple[Hypothesis, ...] | None:
    """The smallest set of hypotheses whose changes remove a difference; None if there is none."""
    if finding.stage == "update":
        biases = [Hypothesis(*each) for each in sequences.of_update(run)]
        biases += _constraints(run)
        found = optimizers.explain(
            run, lambda chosen: _removes(chosen, finding, run, mended), biases
        )
        if found is not None:
            return found
    known = list(hypotheses(finding, run, mended))
    sizes = list(range(1, min(TOGETHER, len(known)) + 1))
    if len(known) > TOGETHER:
        sizes.append(len(known))
    tried = 0
    for size in sizes:
        for chosen in combinations(known, size):
            tried += 1
            if tried > TRIALS:
                return None
            if _removes(chosen, finding, run, mended):
                return chosen
    return None


def _removes(
    chosen: Sequence[Hypothesis], finding: Finding, run: PairRun, mended: tuple[Mend, ...]
) -> bool:
    mends = (*mended, *(mend for each in chosen for mend in each.mends))
    try:
        after = first_of(run.judged(mends), group_of(finding))
    except MnistMlpError:  # the changed model does not run
        return False
    if after is None:
        return True
    if after.stage == finding.stage:
        return after.key > finding.key
    return STAGES.index(after.stage) > STAGES.index(finding.stage)


def hypotheses(finding: Finding, run: PairRun, mended: Sequence[Mend] = ()) -> Iterator[Hypothesis]:
    """What could be behind a difference, by what the two models' settings differ in."""
    match finding.stage:
        case "forward" if finding.tensor == "outputs":
            assert finding.layer is not None
            pair = run.weights.pairs[finding.layer]
            yield from _mode(run)
            yield from layer_hypotheses.padding(run, finding.layer)
            yield from layer_hypotheses.settings(pair.a, pair.b, run.facts_b.framework)
            tried = (
                *sequences.of_outputs(pair, run.facts_b.framework),
                *of_padding(run.rows_a, run.rows_b),
            )
            yield from (Hypothesis(*each) for each in tried)
        case "forward":
            assert finding.layer is not None
            yield from _mode(run)
            yield from layer_hypotheses.reshaped(run) if finding.layer == 0 else ()
            yield from layer_hypotheses.work(run, finding.layer)
            yield from layer_hypotheses.padding(run, finding.layer)
            yield from layer_hypotheses.swapped(run)
            tried = (
                *sequences.of_inputs(run, finding.layer, mended),
                *of_padding(run.rows_a, run.rows_b),
            )
            yield from (Hypothesis(*each) for each in tried)
        case "loss":
            yield from layer_hypotheses.work(run, len(run.weights.pairs))
            yield from losses.hypotheses(run)
            yield from loss_hypotheses.by_hand(run, mended)
            yield from (Hypothesis(*each) for each in of_padding(run.rows_a, run.rows_b))
        case "gradient":
            assert finding.layer is not None
            yield from layer_hypotheses.frozen(run, finding)
            yield from layer_hypotheses.stopped(run, finding)
            if finding.step > 1 and run.facts_b.loop:
                yield Hypothesis((Mend(None, "cleared"),), Cause("gradients_not_cleared"))
            pair = run.weights.every[finding.layer]
            yield from (Hypothesis(*each) for each in sequences.of_gradient(pair))
        case "update":
            yield from _cleared_early(run)
            yield from _constraints(run)
            yield from clip_hypotheses.scaled(run)
            yield from (Hypothesis(*each) for each in sequences.of_update(run))
            both = Optimizers.of(run)
            yield from optimizers.hypotheses(both) if both.known else ()
        case "state":
            assert finding.layer is not None
            pair = run.weights.pairs[finding.layer]
            yield from layer_hypotheses.statistics(pair.a, pair.b, run)


def _constraints(run: PairRun) -> list[Hypothesis]:
    """What is done to weights after their update."""
    found = constraints.tried(constraints.compared(run), run)
    return [Hypothesis(mends, cause, noted=noted) for mends, cause, noted in found]


def _cleared_early(run: PairRun) -> Iterator[Hypothesis]:
    """Of a loop in which nothing moves, though there are gradients."""
    steps = run.own_steps()
    moved = any(
        not np.array_equal(step.before[name], step.after[name])
        for step in steps
        for name in step.gradients.keys() & step.before.keys() & step.after.keys()
    )
    if run.facts_b.loop and run.facts_b.framework == "torch" and not moved:
        yield Hypothesis((Mend(None, "kept"),), Cause("gradients_cleared_early"))


def _mode(run: PairRun) -> Iterator[Hypothesis]:
    """Of a loop, which has to put its module in training mode itself."""
    if run.facts_b.loop:
        yield Hypothesis((Mend(None, "training_mode"),), Cause("evaluation_mode"))
