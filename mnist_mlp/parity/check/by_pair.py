"""An original and its port as each other's measure, for any network that both frameworks have.

Dense networks under cross-entropy are judged by exact arithmetic instead (`port`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DivergedError, UsageError, UserCodeError
from mnist_mlp.parity.check.cost import labels_of, run_freely, whole_runs
from mnist_mlp.parity.check.pair_accumulation import by_updates, look_at_accumulation
from mnist_mlp.parity.check.pair_beginnings import look_at_beginnings
from mnist_mlp.parity.check.pair_epochs import Lengths, epochs_breaks, run_lengths
from mnist_mlp.parity.check.pair_metrics import look_at_metrics
from mnist_mlp.parity.check.pair_open import guess, leave_open, look_at_arithmetic, look_at_margins
from mnist_mlp.parity.check.pair_own_data import look_at_own_data
from mnist_mlp.parity.check.pair_predictions import look_at_predictions
from mnist_mlp.parity.check.pair_random import leave_unseen_open
from mnist_mlp.parity.check.pair_refusals import (
    leave_weighted_open,
    of_brought,
    refuse_third,
    weights_left_out,
)
from mnist_mlp.parity.check.pair_rows import as_the_port_sees
from mnist_mlp.parity.check.pair_side import Side, Start, first_batch
from mnist_mlp.parity.check.pair_verdict import PairEvidence, pair_outcome
from mnist_mlp.parity.cost import Cost
from mnist_mlp.parity.findings import Break, Cause
from mnist_mlp.parity.not_exercised import early_stopping
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.parity.pair import arithmetic
from mnist_mlp.parity.pair.activations import untold_activations
from mnist_mlp.parity.pair.attention import KIND as ATTENTION
from mnist_mlp.parity.pair.breaks import Explained, explained
from mnist_mlp.parity.pair.clip_hypotheses import unreached_clipping
from mnist_mlp.parity.pair.feed import Fed, Share, feed
from mnist_mlp.parity.pair.heads import by_names
from mnist_mlp.parity.pair.initial import unlike_breaks
from mnist_mlp.parity.pair.layer_lists import layer_rows
from mnist_mlp.parity.pair.lengths import drawn_for, harmonised, padding_words, refuse_lengths
from mnist_mlp.parity.pair.own_rows import aligned
from mnist_mlp.parity.pair.own_weights import arrangements, matched
from mnist_mlp.parity.pair.penalties import set_apart
from mnist_mlp.parity.pair.run import EPOCHS, PairRun
from mnist_mlp.parity.pair.schedules import (
    Schedules,
    acting,
    compared,
    settings_break,
    whole_words,
)
from mnist_mlp.parity.pair.updates import Optimizers
from mnist_mlp.parity.pair.weight_map import Unlike, WeightMap
from mnist_mlp.plan import make_plan
from mnist_mlp.ports.pair import Forced, PairFacts, PairJob, PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.ports.unlabelled import with_repeats
from mnist_mlp.reference import Array
from mnist_mlp.spec import Spec

Say = Callable[[str], None]

MOST_TRIED = 64
"""Ways to match weights of no layer that are tried; each is a run of one step."""


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
    mine, theirs = harmonised(brought[0].own, brought[1].own)
    brought = replace(brought[0], own=mine), replace(brought[1], own=aligned(mine, theirs))
    refuse_lengths(brought, (original.target.text, port.target.text))
    described_both = original.described, port.described
    refuse_third(brought, port.target.text)
    fed = feed(*brought, described_both, plan, dataset, image_shape)
    if fed is None:
        raise UsageError(
            f"{original.target.text}: nobody knows what it takes: it declares no shape of its "
            f"inputs and outputs that the data set fits, and brings no data.\n"
            f"Give it data beside the model: {{'model': model, 'loader': (x, y)}}, or "
            f"{{'module': module, 'loader': loader}}."
        )
    seen = PairEvidence()
    seen.not_judged += of_brought(brought, fed)
    seen.told += [text for side in brought for text in side.left_out]
    seen.told += early_stopping(spec)
    say(f"running {original.target.text} and {port.target.text}, step by step")
    lengths = run_lengths(brought, fed, plan)
    start = _single(original, port, fed, seen, lengths)
    if start is not None:
        run = None
        try:
            run = _double(original, port, fed, seen, start, lengths)
        except UserCodeError as error:  # it ran in float32 just now
            seen.not_judged.append(f"training steps: a model does not run in float64: {error}")
        look_at_beginnings(seen, start, run)
    look_at_accumulation(seen, brought)
    updates = by_updates(brought)
    look_at_own_data(seen, original, port, updates, fed, plan_of=(spec, dataset))
    leave_weighted_open(seen, brought, fed)
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
    weighted = False
    for number in sorted((0, 1), key=lambda n: sides[n].described.framework != "keras"):
        side = sides[number]
        brought = side.worker.pair_brought(images, labels, targets=targets, weighted=weighted)
        found[number] = replace(brought, own=with_repeats(brought.own))
        if side.described.framework == "keras":
            own = found[number].own
            losses = [loss for loss in side.described.output_losses if loss]
            targets = len(losses) or len(side.described.outputs) or None
            if own is not None and own.epochs:
                targets = len(own.target_parts) or 1
                single = targets == 1 and not own.parts
                weighted = single and own.epochs[0].weights is not None
    return found[0], found[1]


# --- Training steps -------------------------------------------------------------------------------


def _single(
    original: Side, port: Side, fed: Fed, seen: PairEvidence, lengths: Lengths
) -> Start | None:
    """Look at both in float32, as they are: layers, initial weights, and one step."""
    facts_a = original.worker.pair_open(fed.a, precision="float32", length=lengths[0])
    facts_b = port.worker.pair_open(fed.b, precision="float32", length=lengths[1])
    seen.lines = facts_a.lines, facts_b.lines
    seen.rests = (facts_a.rest, facts_a.rest_weights), (facts_b.rest, facts_b.rest_weights)
    seen.chosen = facts_a.chosen, facts_b.chosen
    weights = _matched(facts_a, facts_b)
    if weights is None:
        seen.not_judged += unmapped_words((original, port), (facts_a, facts_b))
        return None
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
        seen.breaks += unlike_breaks(weights, facts_b)
        return None
    if not weights.every:
        seen.not_judged.append("no layer with weights was found")
        return None
    seen.compared["spec"] = len(weights.every)
    draws = original.worker.pair_draws(), port.worker.pair_draws()
    rows, rows_b = (
        first_batch(side[facts.chosen]) for side, facts in ((fed.a, facts_a), (fed.b, facts_b))
    )
    step = original.worker.pair_fit(PairJob(rows, 1))[0]
    draws_b = weights.draws_to_b(drawn_for(step.draws, rows.padding, rows_b.padding))
    forced = Forced(weights.to_b(step.before), {}, draws_b)
    other = port.worker.pair_fit(PairJob(rows_b, 1, (forced,)))
    return Start(step, other[0] if other else None, weights, draws)


def unmapped_words(sides: Sequence[Side], facts: Sequence[PairFacts]) -> list[str]:
    """Weights that belong to no layer, and are not the same in number and shape on both sides."""
    return [
        f"{side.target.text}: {', '.join(names)}: weights of no layer that can be mapped"
        for side, each in zip(sides, facts, strict=True)
        if (names := [x.name for x in each.own if not x.settings.get("frozen")])
    ]


def _matched(a: PairFacts, b: PairFacts) -> WeightMap | Unlike | None:
    found = matched(a, b)
    return by_names(a, b, found) if isinstance(found, WeightMap) else found


def _look_at_ends(
    seen: PairEvidence,
    sides: tuple[Side, Side],
    run: PairRun,
    result: Explained,
    rows: PairRows,
) -> None:
    """Predictions, if the steps before them agree."""
    if not run.weights.whole:
        seen.leave_out("predictions", reason="a tensor has no counterpart")
    elif result.in_float32:
        seen.leave_out("predictions", reason="training steps differ by what float32 rounds")
    elif run.agrees and not seen.broken("data", "forward", "loss", "gradient", "update"):
        look_at_predictions(seen, *sides, run, rows.as_one)


def _tell_of(seen: PairEvidence, facts: tuple[PairFacts, PairFacts]) -> None:
    """What both sides say of themselves."""
    for whose, side in zip(("original", "port"), facts, strict=True):
        seen.not_judged += [f"of the {whose}: {text}" for text in side.open_questions]
        if side.repeated_rows:
            text = f"{', '.join(side.repeated_rows)} of the {whose}"
            seen.noted.append(Cause("repeated_rows", text))


def _others(weights: WeightMap, facts: Sequence[PairFacts]) -> tuple[tuple[WeightMap, ...], bool]:
    """Other ways to match weights of no layer, and whether there are more of them."""
    if weights.lone:
        return (), False
    found = tuple(islice(arrangements(*facts), 1, MOST_TRIED + 2))
    return found[:MOST_TRIED], len(found) > MOST_TRIED


def _double(
    original: Side, port: Side, fed: Fed, seen: PairEvidence, start: Start, lengths: Lengths
) -> PairRun | None:
    """Judge the steps in float64, and try what could be behind their differences."""
    facts_a = original.worker.pair_open(fed.a, precision="float64", length=lengths[0])
    facts_b = port.worker.pair_open(fed.b, precision="float64", length=lengths[1])
    both = facts_a, facts_b
    weights = _matched(facts_a, facts_b)
    if not isinstance(weights, WeightMap):
        seen.not_judged.append("layers that are others in float64 than in float32")
        return None
    _tell_of(seen, both)
    rows, other_rows, epochs = fed.a[facts_a.chosen], fed.b[facts_b.chosen], EPOCHS
    if not weights.whole:  # a bias that one side lacks is zero in the first step, and only there
        rows, other_rows, epochs = first_batch(rows), first_batch(other_rows), 1
    schedules = _schedules(original, port, both, lengths, seen)
    others, untried = _others(weights, both)

    first = Forced(start.a.before, {}, start.a.draws)

    def run_of(rows: PairRows, other_rows: PairRows) -> PairRun:
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
            others=others,
            untried=untried,
        )

    run, own = _run_on_whole_batches_at_least(run_of, (rows, other_rows), seen)
    rows, other_rows = run.rows_a or rows, run.rows_b
    if len(own) == len(run.steps_a) and (seen_by_b := as_the_port_sees(rows, run, own)) is not None:
        rows = replace(rows, x=seen_by_b)
        run = run_of(rows, other_rows)
        own = run.steps_b()
    steps, reports = run.steps_a, original.worker.pair_reported()
    if len(own) != len(steps):
        seen.not_judged.append(f"the port stops after {len(own)} of {len(steps)} steps")
        return None
    run, noted = set_apart(run, own)
    seen.noted += [noted] if noted is not None else []
    result = explained(run)
    _name_weights(original, rows, first, result, own[0])
    if weights.lone and not run.agrees:
        seen.not_judged += unmapped_words((original, port), both)
        return None
    seen.layers = layer_rows(facts_a, facts_b, run.weights)  # by now, values have settled the match
    guess(seen, run, result, fed, facts_b)
    leave_open(seen, result, run)
    leave_unseen_open(seen, result, (steps, own))
    seen.judged = True
    seen.breaks += result.breaks
    seen.noted += result.noted
    counts = any(item.rung in ("forward", "loss", "gradient") for item in result.breaks)
    if run.agrees and not counts and (padded := padding_words(rows, other_rows)):
        seen.noted.append(Cause("padded_otherwise", padded))
    seen.breaks += _beyond_the_steps(run, seen, lengths)
    look_at_margins(seen, result, run.judged())
    look_at_arithmetic(seen, start, steps[0], own[0], facts_b)
    _look_at_ends(seen, (original, port), run, result, rows)
    if reason := _unlike_reported(both, (rows, other_rows)):
        seen.leave_out("metrics", reason=reason)
        return run
    as_reported = replace(run, steps_a=steps)
    look_at_metrics(seen, as_reported, reports, rows, original.worker.pair_predict)
    return run


def _run_on_whole_batches_at_least(
    run_of: Callable[[PairRows, PairRows], PairRun],
    rows: tuple[PairRows, PairRows],
    seen: PairEvidence,
) -> tuple[PairRun, Sequence[PairStep]]:
    """Both sides' steps, without the last and smaller batch of an epoch if one side's code is
    written for batches of one size, as by hidden states that it makes before its epoch."""
    try:
        run = run_of(*rows)
        return run, run.steps_b()
    except UserCodeError as error:
        whole = rows[0].count // rows[0].batch_size * rows[0].batch_size
        if whole == rows[0].count:
            raise
        run = run_of(*(each.first(whole) for each in rows))
        steps = run.steps_b()
        seen.told.append(f"a smaller last batch, with which a side's code does not run: {error}")
        return run, steps


def _name_weights(
    original: Side, rows: PairRows, first: Forced, result: Explained, port: PairStep
) -> None:
    """Find a port that leaves the weights of single rows out."""
    if rows.weights is None:
        return
    job = PairJob(first_batch(replace(rows, weights=np.ones(rows.count))), 1, (first,))
    result.breaks = weights_left_out(result.breaks, port, lambda: original.worker.pair_fit(job)[0])


def _unlike_reported(facts: Sequence[PairFacts], rows: Sequence[PairRows]) -> str:
    """Why the numbers that are reported do not follow from the steps."""
    if any(side.accumulated > 1 for side in facts):
        return "they are of batches, of which several make an update"
    return "rows have weights" if any(side.weights is not None for side in rows) else ""


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
    if not seen.broken("forward"):
        unlike = untold_activations(run)
        seen.not_judged += [f"{words}, which no judged step tells apart" for words in unlike]
    a, b = run.facts_a, run.facts_b
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
