"""An original and its port as each other's measure, for any network that both frameworks have.

Dense networks under cross-entropy are judged by exact arithmetic instead (`port`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DivergedError, UsageError, UserCodeError
from mnist_mlp.parity.causes.data import SCALINGS
from mnist_mlp.parity.check.blame import blamed_data
from mnist_mlp.parity.check.cost import labels_of, run_freely, whole_runs
from mnist_mlp.parity.check.pair_data import Brought, against_original
from mnist_mlp.parity.check.pair_metrics import look_at_metrics
from mnist_mlp.parity.check.pair_random import leave_unseen_open, random_outputs
from mnist_mlp.parity.check.pair_rows import as_the_port_sees
from mnist_mlp.parity.check.pair_verdict import PairEvidence, pair_outcome
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.cost import Cost
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.not_exercised import early_stopping
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.parity.pair import arithmetic
from mnist_mlp.parity.pair.arrange import laid_like, windows_like
from mnist_mlp.parity.pair.attention import KIND as ATTENTION
from mnist_mlp.parity.pair.breaks import Explained, explained
from mnist_mlp.parity.pair.feed import DATASET, Fed, Share, aligned, feed
from mnist_mlp.parity.pair.heads import by_names
from mnist_mlp.parity.pair.initial import initial_breaks, unlike_breaks
from mnist_mlp.parity.pair.judge import STAGES, Judged
from mnist_mlp.parity.pair.layer_lists import layer_rows
from mnist_mlp.parity.pair.optimizers import Optimizers, unreached_clipping
from mnist_mlp.parity.pair.penalties import set_apart
from mnist_mlp.parity.pair.run import EPOCHS, PairRun
from mnist_mlp.parity.pair.schedules import (
    Schedules,
    acting,
    compared,
    settings_break,
    whole_words,
)
from mnist_mlp.parity.pair.weight_map import Unlike, WeightMap, match
from mnist_mlp.plan import Plan, make_plan
from mnist_mlp.ports.attention import BLIND
from mnist_mlp.ports.inputs import Inputs, each
from mnist_mlp.ports.pair import (
    Forced,
    PairBrought,
    PairFacts,
    PairJob,
    PairRows,
    PairStep,
    RunLength,
)
from mnist_mlp.ports.protocol import PortDescription, PortFacts
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.ports.user_code import is_script
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker

Say = Callable[[str], None]

Lengths = tuple[RunLength, RunLength]

PREDICTED = 1e-9
"""Largest relative difference of two outputs in evaluation."""


@dataclass(frozen=True)
class Side:
    """One of the two models, described by its worker."""

    target: Target
    worker: Worker
    described: PortDescription


def check_pair(
    original: Side,
    port: Side,
    *,
    spec: Spec,
    dataset: Dataset,
    image_shape: tuple[int, ...] = (),
    cost: bool = False,
    say: Say = lambda _: None,
) -> tuple[Outcome, Cost | None]:
    """Judge a port by its original, step by step in float64.

    With `cost`, both are trained freely as well, each as its user would.

    Raises
    ------
    UsageError
        Nobody knows what the original takes.
    UserCodeError
        A model does not run on the rows that it is given.
    """
    plan = make_plan(spec, dataset)
    rows = dataset.flat()[plan.train_ids], dataset.labels[plan.train_ids]
    brought = _brought(original, port, *rows)
    others = aligned(brought[0].own, brought[1].own)
    brought = brought[0], replace(brought[1], own=others)
    described_both = original.described, port.described
    _refuse_third(brought, port.target.text)
    fed = feed(*brought, described_both, plan, dataset, image_shape)
    if fed is None:
        raise UsageError(
            f"{original.target.text}: nobody knows what it takes: it declares no shape of its "
            f"inputs and outputs that the data set fits, and brings no data.\n"
            f"Give it data beside the model: {{'model': model, 'loader': (x, y)}}, or "
            f"{{'module': module, 'loader': loader}}."
        )
    seen = PairEvidence()
    seen.not_judged += _of_brought(brought)
    seen.told += [text for side in brought for text in side.left_out]
    seen.told += early_stopping(spec)
    say(f"running {original.target.text} and {port.target.text}, step by step")
    lengths = _lengths(brought, fed, plan)
    start = _single(original, port, fed, seen, lengths)
    if start is not None:
        try:
            _double(original, port, fed, seen, start, lengths)
        except UserCodeError as error:  # it ran in float32 just now
            seen.not_judged.append(f"training steps: a model does not run in float64: {error}")
    _own_data(seen, original, port, brought, fed, plan_of=(spec, dataset))
    seen.breaks += epochs_breaks(original.target, port.target, *(side.epochs for side in brought))
    outcome = pair_outcome(original.target, port.target, seen)
    if not cost:
        return outcome, None

    def whole(share: Share) -> Fed | None:
        return feed(*brought, described_both, plan, dataset, image_shape, part=share)

    labels = labels_of((original.target.text, port.target.text))
    runs = whole_runs(brought, described_both, fed.source, seen.chosen, whole, plan)
    return outcome, Cost(
        runs=(
            run_freely("a", labels[0], original.worker, runs[0], say),
            run_freely("b", labels[1], port.worker, runs[1], say),
        )
    )


def _brought(
    original: Side, port: Side, images: Array, labels: Array
) -> tuple[PairBrought, PairBrought]:
    """What both bring. How many targets a flat batch of torch has, Keras's side tells."""
    sides, found = (original, port), dict[int, PairBrought]()
    targets: int | None = None
    for number in sorted((0, 1), key=lambda n: sides[n].described.framework != "keras"):
        side = sides[number]
        found[number] = side.worker.pair_brought(images, labels, targets=targets)
        if side.described.framework == "keras":
            own = found[number].own
            losses = [loss for loss in side.described.output_losses if loss]
            targets = len(losses) or len(side.described.outputs) or None
            if own is not None and own.epochs:
                targets = len(own.target_parts) or 1
    return found[0], found[1]


def epochs_breaks(original: Target, port: Target, a: int | None, b: int | None) -> list[Break]:
    """Two scripts that train for different numbers of epochs.

    What stands beside a model under a name is no training, and how long it is trained not known.
    """
    if not (is_script(original.text) and is_script(port.text)) or a == b or None in (a, b):
        return []
    assert a is not None
    assert b is not None
    fix = f"{a} epochs"
    cause = Cause("epochs_missing", f"{b} of {a} epochs", fix=fix)
    if b > a:
        cause = Cause("more_epochs", f"{b} epochs instead of {a}", fix=fix)
    return [
        Break(
            side="b",
            rung="spec",
            place=Place(),
            got=f"{b} epochs",
            expected=f"{a} epochs",
            cause=cause,
        )
    ]


def _lengths(brought: Sequence[PairBrought], fed: Fed, plan: Plan) -> tuple[RunLength, RunLength]:
    """How long both runs are meant to be, in the original's batches."""
    if brought[0].own is not None and brought[0].own.epochs:
        steps = len(brought[0].own.epochs[0].sizes)
    elif fed.source == DATASET:
        steps = -(-len(plan.train_ids) // fed.a[0].batch_size)
    elif brought[1].own is not None and brought[1].own.epochs:
        steps = len(brought[1].own.epochs[0].sizes)
    else:
        steps = fed.a[0].steps
    known = [side.epochs for side in brought if side.epochs]
    epochs = known[0] if known else plan.spec.training.epochs
    own = any(side.own is not None and side.own.epochs for side in brought)
    guessed = not (own and known)
    first, second = (RunLength(side.epochs or epochs, steps, guessed) for side in brought)
    return first, second


def _refuse_third(brought: Sequence[PairBrought], label: str) -> None:
    """Batches of three are two inputs and targets, or one input with targets and weights, or with
    an entry of a dictionary that is no input."""
    mine, theirs = (side.own for side in brought)
    if mine is None or theirs is None or mine.parts:
        return
    if theirs.keys is not None:
        alone = [part.name for part in theirs.parts if part.size == mine.rows.inputs]
        if alone:
            raise UsageError(
                f"{label}: its batches have the inputs {', '.join(theirs.keys.inputs)}, and the "
                f"original has one input, as long as {alone[0]!r}.\nGive it a loader of "
                f"dictionaries with {alone[0]!r} and {theirs.keys.target!r} alone."
            )
    if not (theirs.flat and theirs.parts):
        return
    if theirs.parts[0].size == mine.rows.inputs:
        raise UsageError(
            f"{label}: its batches have {len(theirs.parts) + 1} parts, and the original has one "
            f"input. Of a torch loader, check takes (x, y), or (a, b, y) for two inputs.\nGive it "
            f"a loader of (x, y), without weights of rows."
        )


def _of_brought(brought: Sequence[PairBrought]) -> list[str]:
    found = [text for side in brought for text in side.not_judged]
    for whose, side in zip(("original", "port"), brought, strict=True):
        if side.own is not None and any(one.weights is not None for one in side.own.epochs):
            found.append(f"the {whose}'s weights of single rows")
    return found


# --- Training steps -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Start:
    """A first step of both in float32, from the original's own initial weights."""

    a: PairStep
    b: PairStep | None
    weights: WeightMap


def _single(
    original: Side, port: Side, fed: Fed, seen: PairEvidence, lengths: Lengths
) -> Start | None:
    """Look at both in float32, as they are: layers, initial weights, and one step."""
    facts_a = original.worker.pair_open(fed.a, precision="float32", length=lengths[0])
    facts_b = port.worker.pair_open(fed.b, precision="float32", length=lengths[1])
    seen.lines = facts_a.lines, facts_b.lines
    seen.chosen = facts_a.chosen, facts_b.chosen
    unmapped = [
        f"{side.target.text}: {', '.join(facts.unmapped)}: weights of no layer that can be mapped"
        for side, facts in ((original, facts_a), (port, facts_b))
        if facts.unmapped
    ]
    if unmapped:
        seen.not_judged += unmapped
        return None
    weights = _matched(facts_a, facts_b)
    seen.layers = layer_rows(facts_a, facts_b, weights)
    if isinstance(weights, Unlike):
        by_hand = dict.fromkeys((*facts_a.repeated, *facts_b.repeated))
        if by_hand and any(x.kind in RECURRENT for x in (*weights.missing, *weights.extra)):
            seen.not_judged.append(
                f"a recurrent layer that one side has written out: {', '.join(by_hand)} run more "
                f"than once in a step"
            )
            return None
        if any(layer.kind == ATTENTION for layer in (*facts_a.layers, *facts_b.layers)):
            seen.not_judged.append(
                "an attention that the two sides have in other layers: only one with a dense layer "
                "each for query, key, value and result can be mapped"
            )
            return None
        seen.breaks += unlike_breaks(weights)
        return None
    if not weights.pairs:
        seen.not_judged.append("no layer with weights was found")
        return None
    seen.compared["spec"] = len(weights.pairs)
    found, seen.compared["init"] = initial_breaks(
        original.worker.pair_draws(), port.worker.pair_draws(), weights
    )
    seen.breaks += found
    rows = _first_batch(fed.a[facts_a.chosen])
    step = original.worker.pair_fit(PairJob(rows, 1))[0]
    forced = Forced(weights.to_b(step.before), {}, weights.draws_to_b(step.draws))
    other = port.worker.pair_fit(PairJob(_first_batch(fed.b[facts_b.chosen]), 1, (forced,)))
    return Start(step, other[0] if other else None, weights)


def _matched(a: PairFacts, b: PairFacts) -> WeightMap | Unlike:
    weights = match(a.layers, b.layers)
    return weights if isinstance(weights, Unlike) else by_names(a, b, weights)


def _first_batch(rows: PairRows) -> PairRows:
    return rows.first(rows.batch_size)


def _double(
    original: Side, port: Side, fed: Fed, seen: PairEvidence, start: Start, lengths: Lengths
) -> None:
    """Judge the steps in float64, and try what could be behind their differences."""
    facts_a = original.worker.pair_open(fed.a, precision="float64", length=lengths[0])
    facts_b = port.worker.pair_open(fed.b, precision="float64", length=lengths[1])
    both = facts_a, facts_b
    if any(side.loop for side in both) and any(side.accumulated > 1 for side in both):
        seen.not_judged.append(
            "training steps: how many batches make an update, a loop has in its own code"
        )
        return
    weights = _matched(facts_a, facts_b)
    if isinstance(weights, Unlike):
        seen.not_judged.append("layers that are others in float64 than in float32")
        return
    seen.not_judged += [f"of the original: {text}" for text in facts_a.open_questions]
    seen.not_judged += [f"of the port: {text}" for text in facts_b.open_questions]
    seen.noted += [
        Cause("repeated_rows", f"{', '.join(facts.repeated_rows)} of the {whose}")
        for whose, facts in (("original", facts_a), ("port", facts_b))
        if facts.repeated_rows
    ]
    first = Forced(start.a.before, {}, start.a.draws)
    rows, other_rows, epochs = fed.a[facts_a.chosen], fed.b[facts_b.chosen], EPOCHS
    if not weights.whole:  # a bias that one side lacks is zero in the first step, and only there
        rows, other_rows, epochs = _first_batch(rows), _first_batch(other_rows), 1
    schedules = _schedules(original, port, both, lengths, seen)

    def run_of(rows: PairRows) -> PairRun:
        steps = original.worker.pair_fit(PairJob(rows, epochs, (first,), validation=()))
        _refuse_strange(original, steps)
        return PairRun(
            port.worker.pair_fit,
            facts_a,
            facts_b,
            steps,
            other_rows,
            weights,
            epochs,
            arithmetic.conditioning(start.a, steps[0]),
            schedules,
            reported_b=port.worker.pair_reported,
            rows_a=rows,
        )

    run = run_of(rows)
    own = run.steps_b()
    if len(own) == len(run.steps_a) and (seen_by_b := as_the_port_sees(rows, run, own)) is not None:
        rows = replace(rows, x=seen_by_b)
        run = run_of(rows)
        own = run.steps_b()
    steps, reports = run.steps_a, original.worker.pair_reported()
    if len(own) != len(steps):
        seen.not_judged.append(f"the port stops after {len(own)} of {len(steps)} steps")
        return
    run, noted = set_apart(run, own)
    seen.noted += [noted] if noted is not None else []
    result = explained(run)
    seen.layers = layer_rows(facts_a, facts_b, run.weights)  # by now, values have settled the match
    _guess(seen, run, result, fed, facts_b)
    _leave_open(seen, result, both)
    leave_unseen_open(seen, result, (steps, own))
    seen.judged = True
    seen.breaks += result.breaks
    seen.noted += result.noted
    seen.breaks += _beyond_the_steps(run, seen, lengths)
    _margins(seen, result, run.judged())
    _arithmetic(seen, start, steps[0], own[0], facts_b)
    if not weights.whole:
        seen.leave_out("predictions", reason="a tensor has no counterpart")
    elif not seen.broken("data", "forward", "loss", "gradient", "update"):
        _predictions(seen, original, port, run, rows.x)
    as_reported = replace(run, steps_a=steps)
    look_at_metrics(seen, as_reported, reports, rows, original.worker.pair_predict)


def _schedules(
    original: Side,
    port: Side,
    facts: tuple[PairFacts, PairFacts],
    lengths: Lengths,
    seen: PairEvidence,
) -> Schedules | None:
    """The learning rates of the whole run, where a side changes them."""
    if not any(side.schedules for side in facts) or any(side.asks_length for side in facts):
        return None
    if any(side.own_rates for side in facts):
        seen.not_judged.append("the learning rates of the whole run, which a side's own code sets")
        return None
    words = whole_words(facts[0].schedules), whole_words(facts[1].schedules)
    try:
        return compared(original.worker.pair_rates, port.worker.pair_rates, lengths[0], words)
    except UserCodeError as error:  # some end with an error
        seen.not_judged.append(f"the learning rates of the whole run: {error}")
        return None


def _beyond_the_steps(run: PairRun, seen: PairEvidence, lengths: Lengths) -> list[Break]:
    """What the judged steps are too few to show."""
    found: list[Break] = []
    if run.schedules is not None and not seen.broken("update"):
        found += run.schedules.breaks()
    clipping = unreached_clipping(Optimizers.of(run))
    if clipping is not None and not seen.broken("update"):
        words, both_clip = clipping
        (seen.not_judged if both_clip else seen.told).append(f"clipping: {words}")
    a, b = run.facts_a, run.facts_b
    if a.accumulated != b.accumulated:
        text = f"{b.accumulated} batches for an update instead of {a.accumulated}"
        cause = Cause("gradient_accumulation", text)
        found.append(Break(side="b", rung="update", place=Place(), cause=cause))
    elif a.accumulated > 1:
        seen.not_judged.append(
            f"that {a.accumulated} batches make one update, of which the last of an epoch may be "
            f"fewer: steps are judged without that"
        )
    restored = [
        bool(side.early_stopping and side.early_stopping["best_weights"]) for side in (a, b)
    ]
    if restored[0] != restored[1]:
        seen.told.append("the weights of the best epoch, which early stopping restores at the end")
    stopping = acting(a.early_stopping, lengths), acting(b.early_stopping, lengths)
    if None in stopping and any(stopping) and not (a.trainer_given and b.trainer_given):
        side = "port" if stopping[0] else "original"
        seen.told.append(f"early stopping: no arguments of the {side}'s training were given")
        stopping = None, None
    plateaus = acting(a.plateau, lengths), acting(b.plateau, lengths)
    if None in plateaus and any(side.own_rates for side in (a, b)):  # it may be own code's work
        plateaus = None, None
    for item in (
        settings_break(*plateaus, name="plateau_settings", rung="update"),
        settings_break(*stopping, name="early_stopping_settings", rung="order"),
    ):
        found += [item] if item is not None else []
    return found


def _refuse_strange(original: Side, steps: Sequence[PairStep]) -> None:
    for number, step in enumerate(steps, start=1):
        strange = [n for n, g in step.gradients.items() if not np.isfinite(g).all()]
        if strange or not np.isfinite(step.loss):
            what = f"the gradient of {strange[0]}" if strange else "the loss"
            raise DivergedError(
                f"{original.target.text}: {what} is not finite at step {number}, in float64"
            )


def _guess(seen: PairEvidence, run: PairRun, result: Explained, fed: Fed, facts: PairFacts) -> None:
    """A port that brings no data may want it in another form than it was given."""
    swapped = [x for x in result.breaks if x.cause.name == "inputs_swapped"]
    if swapped and fed.guessed:
        result.breaks[:] = [x for x in result.breaks if x not in swapped]
        seen.not_judged.append(
            f"in which order the port takes its inputs: it brings none; {swapped[0].cause.value}"
            f" would be as in the original"
        )
    exchanged = [x for x in result.breaks if x.cause.name == "targets_swapped"]
    if exchanged and (fed.guessed or run.heads_open):
        why = "it brings none"
        if run.heads_open:
            why = "its outputs may be each other, of which their names tell nothing"
        result.breaks[:] = [x for x in result.breaks if x not in exchanged]
        seen.not_judged.append(
            f"in which order the port takes its targets: {why}; "
            f"{exchanged[0].cause.value} would be as in the original"
        )
    broadcast = [x for x in result.breaks if x.cause.name == "targets_broadcast"]
    y = fed.b[facts.chosen].y
    if not broadcast or not fed.guessed or not isinstance(y, np.ndarray):
        return
    result.breaks[:] = [x for x in result.breaks if x not in broadcast]
    seen.not_judged.append(
        f"whether the port's targets have the shape of its outputs: it brings none, and with "
        f"targets {y.shape[1:] or '(n,)'} its loss broadcasts"
    )


def _leave_open(seen: PairEvidence, result: Explained, facts: tuple[PairFacts, PairFacts]) -> None:
    """Differences that these short runs may have made themselves, and not the port."""
    kept = []
    blind = any(
        side.framework == "keras" and x.settings.get("mask") == BLIND
        for side in facts
        for x in side.layers
    )
    for item in result.breaks:
        late = (item.step or 0) > 1 and item.rung == "update"
        if late and any(side.open_questions for side in facts):
            seen.not_judged.append(
                f"updates from step {item.step} on, which differ: what is scheduled or called back "
                f"may follow the length of a run"
            )
        elif item.rung in ("forward", "loss", "gradient") and blind:
            seen.not_judged.append(
                f"the {item.rung}, which differs: an attention of Keras lets padded steps look at "
                f"everything, which may not matter later"
            )
        elif item.rung in ("loss", "gradient") and any(side.repeated for side in facts):
            names = dict.fromkeys(name for side in facts for name in side.repeated)
            seen.not_judged.append(
                f"the {item.rung}, which differs: {', '.join(names)} run more than once in a step, "
                f"and only the first time is observed"
            )
        else:
            kept.append(item)
    result.breaks[:] = kept


def _margins(seen: PairEvidence, result: Explained, before: Judged) -> None:
    """What is left when all that has a name is mended, and what was there before."""
    for stage in STAGES:
        rung = "update" if stage == "state" else stage
        if stage in before.margins:
            seen.found[rung] = max(before.margins[stage], seen.found.get(rung, 0.0))
        if stage in result.open_stages:
            reason = "an earlier rung is open" if result.rounded else "an earlier rung breaks"
            seen.leave_out(rung, reason=reason)
        elif stage in result.judged.margins:
            margin = result.judged.margins[stage]
            seen.margins[rung] = max(margin, seen.margins.get(rung, 0.0))
    if "data" in before.margins:
        seen.found["data"] = before.margins["data"]
    if "data" in result.judged.margins:
        seen.margins["data"] = result.judged.margins["data"]
    if result.rounded:
        seen.not_judged.append(
            f"the forward pass and what follows from it: one side scales one of its several inputs "
            f"before float32 rounds it, the other in its model ({result.rounded:.1e} of a layer's "
            f"inputs); scale it in the same place to see more"
        )
    if result.judged.rough:
        names = ", ".join(sorted(result.judged.rough))
        seen.not_judged.append(f"what is not computed in float64 when all else is: {names}")
    if result.judged.zero:
        count = len(result.judged.zero)
        what = "a gradient that is" if count == 1 else f"{count} gradients that are"
        seen.told.append(f"{what} zero but for rounding")


def _arithmetic(
    seen: PairEvidence, start: Start, a: PairStep, b: PairStep, facts_b: PairFacts
) -> None:
    """A side that computes more coarsely than float32 does, each against itself."""
    if start.b is None:
        return
    ours, theirs = arithmetic.lost(start.a, a), arithmetic.lost(start.b, b)
    doubles = [lost < arithmetic.DOUBLE for lost in (ours, theirs)]
    if doubles[0] != doubles[1]:
        name = Cause("float64_arithmetic" if doubles[1] else "float32_arithmetic")
        seen.breaks.append(Break(side="b", rung="spec", place=Place(0, 0), cause=name))
        return
    ours = arithmetic.lost_in_products(start.a, a)
    theirs = arithmetic.lost_in_products(start.b, b)
    if max(ours, theirs) <= arithmetic.COARSE:
        return
    text = f"{theirs:.1e} of an output is lost, {ours:.1e} in the original"
    if ours <= arithmetic.COARSE and not seen.broken("data", "forward"):
        place = Place(1, 1, 0, "pre_activation")
        cause = Cause(arithmetic.narrow(start.b) or UNKNOWN, f"coarser than float32: {text}")
        if facts_b.loop and facts_b.framework == "torch" and cause.name != UNKNOWN:
            cause = replace(cause, fix="no torch.autocast around the forward pass")
        seen.breaks.append(Break(side="b", rung="forward", place=place, cause=cause))
    else:
        seen.not_judged.append(f"arithmetic coarser than float32: {text}")


def _predictions(seen: PairEvidence, original: Side, port: Side, run: PairRun, x: Inputs) -> None:
    """Outputs in evaluation, from the weights after the last judged step."""
    after: Tensors = run.steps_a[-1].after
    try:
        all_ours = original.worker.pair_predict(after, x)
        all_theirs = port.worker.pair_predict(run.weights.to_b(after), run.rows_b.x)
    except UsageError as error:
        seen.leave_out("predictions", reason=str(error))
        return
    except UserCodeError as error:
        # Nobody knows how a module that takes several inputs in training wants them elsewhere.
        if isinstance(x, np.ndarray):
            raise
        seen.leave_out("predictions", reason=f"it does not run on what training gets: {error}")
        return
    both = [
        (all_ours[pair.a.number], all_theirs[pair.b.number])
        for pair in run.weights.pairs
        if pair.a.number in all_ours and pair.b.number in all_theirs
    ]
    if not both or len(both) < len(all_ours):
        seen.leave_out("predictions", reason="the two have other layers at their ends")
        return
    moved, shown = np.zeros(len(both[0][0]), bool), ("", "")
    for expected, given in both:
        got, wanted = laid_like(given, expected), expected
        if got is None:
            got, wanted = windows_like(given, expected) or (np.full_like(wanted, np.nan), wanted)
        apart = np.abs(got - wanted).reshape(len(wanted), -1).max(axis=1)
        here = ~(apart <= PREDICTED * float(np.abs(wanted).max()))
        if here.any() and not moved.any():
            row = int(np.flatnonzero(here)[0])
            shown = f"{got[row].ravel()[0]:.9g} for row {row}", f"{wanted[row].ravel()[0]:.9g}"
        moved |= here
    seen.compared["predictions"] = len(moved)
    seen.different = int(moved.sum())
    if not seen.different:
        return
    found = random_outputs(
        Break(
            side="b",
            rung="predictions",
            place=Place(tensor="outputs"),
            got=shown[0],
            expected=shown[1],
            cause=Cause(
                UNKNOWN, f"{seen.different} rows in evaluation, though training steps are clean"
            ),
        ),
        lambda: _in_one(original.worker.pair_predict(after, x)),
        lambda: _in_one(port.worker.pair_predict(run.weights.to_b(after), run.rows_b.x)),
    )
    if isinstance(found, str):
        del seen.compared["predictions"]
        seen.different = 0
        seen.leave_out("predictions", reason=found)
    else:
        seen.breaks.append(found)


def _in_one(outputs: Mapping[int, Array]) -> Array:
    """All outputs of a row beside each other."""
    return np.concatenate([each.reshape(len(each), -1) for _, each in sorted(outputs.items())], 1)


# --- Own data -------------------------------------------------------------------------------------


def _own_data(
    seen: PairEvidence,
    original: Side,
    port: Side,
    brought: Sequence[PairBrought],
    fed: Fed,
    *,
    plan_of: tuple[Spec, Dataset],
) -> None:
    """The port's data against the original's; without the original's, against the data set if that
    is what both were fed."""
    spec, dataset = plan_of
    trains = [side.own is not None and bool(side.own.epochs) for side in brought]
    if not trains[0] and fed.source != DATASET:
        reason = "only the port brings data" if trains[1] else "neither side brings data"
        seen.data.but_for = f"{reason}, and both were fed with {fed.source}"
        seen.leave_out("data", "order", reason=seen.data.but_for)
        return
    if brought[0].batch_size is not None:
        training = spec.training.model_copy(update={"batch_size": brought[0].batch_size})
        spec = spec.model_copy(update={"training": training})
    sides = [
        Brought(_facts(side, each), None)
        for side, each in zip((original, port), brought, strict=True)
    ]
    found = against_original(sides[0], sides[1], make_plan(spec, dataset), dataset)
    labels = [item for item in found.breaks if item.place.tensor == "labels"]
    if labels and seen.judged and not _reads_labels(port, fed.b[seen.chosen[1]]):
        found.breaks = [item for item in found.breaks if item not in labels]
        found.not_exercised.append("labels: the port's loss makes its targets of something else")
    scales = [x for x in found.breaks if x.cause.name in (*SCALINGS, "pixels_scaled_otherwise")]
    if not seen.broken("data") and seen.judged and fed.own_rows:
        # What the networks saw of the same rows was judged: their scales belong together.
        found.breaks = [x for x in found.breaks if x not in scales]
    elif scales and seen.broken("data") and not fed.own_rows:
        # Given the same rows, the models scale them otherwise, which may make up for the data.
        found.breaks = [x for x in found.breaks if x not in scales]
        seen.breaks = [x for x in seen.breaks if x.rung != "data"]
        seen.not_judged.append(
            "how the port scales its inputs: model and data both scale them otherwise than the "
            "original's, and the port's rows are not those that it was fed"
        )
    elif any(item.rung == "data" for item in found.breaks):
        seen.breaks = [item for item in seen.breaks if item.rung != "data"]
    seen.data = found
    seen.breaks += blamed_data(found.breaks, *seen.lines)
    seen.noted += found.noted
    seen.compared |= found.compared
    seen.told += found.not_exercised
    for rung, reason in found.missing.items():
        seen.leave_out(rung, reason=reason)
    if found.unjudged:
        seen.not_judged.append(found.unjudged)


def _reads_labels(port: Side, rows: PairRows) -> bool:
    """Whether a step of the port is another with other labels: an autoencoder's is not."""
    mine = _first_batch(rows)
    other = replace(mine, y=each(lambda y: y[::-1], mine.y))
    a, b = (port.worker.pair_fit(PairJob(given, 1))[0] for given in (mine, other))
    return a.loss != b.loss or any(
        not np.array_equal(a.gradients[name], b.gradients[name]) for name in a.gradients
    )


def _facts(side: Side, brought: PairBrought) -> PortFacts:
    """What the judges of data ask of a side."""
    return PortFacts(
        framework=side.target.framework,
        layers=(),
        draws=(),
        optimizer={},
        batch_size=brought.batch_size,
        epochs=brought.epochs,
        shuffle=brought.shuffle,
        own=brought.own,
        options=brought.options,
    )
