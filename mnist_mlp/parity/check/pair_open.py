"""What is left open after the judged steps of a pair, and how close they came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mnist_mlp.parity.check.pair_side import Start
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair import arithmetic
from mnist_mlp.parity.pair.breaks import Explained
from mnist_mlp.parity.pair.feed import Fed
from mnist_mlp.parity.pair.judge import STAGES, Judged, calls_alike
from mnist_mlp.parity.pair.own_weights import doubtful
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import WeightMap, weight_words
from mnist_mlp.ports.attention import BLIND
from mnist_mlp.ports.pair import PairFacts, PairStep


def guess(seen: PairEvidence, run: PairRun, result: Explained, fed: Fed, facts: PairFacts) -> None:
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


def leave_open(seen: PairEvidence, result: Explained, run: PairRun) -> None:
    """Differences that these short runs may have made themselves, and not the port."""
    seen.not_judged += result.in_float32
    if run.untried or doubtful(run.weights.own):
        leave_doubtful(seen, result, run.weights)
    facts, kept = (run.facts_a, run.facts_b), []
    blind = any(
        side.framework == "keras" and x.settings.get("mask") == BLIND
        for side in facts
        for x in side.layers
    )
    order = None
    if any(side.repeated for side in facts):
        order = calls_alike(run.steps_a, run.own_steps(), run.weights)
    names = ", ".join(dict.fromkeys(name for side in facts for name in side.repeated))
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
        elif (
            item.rung in ("data", "forward", "loss", "gradient")
            and order
            and sorted(order) != [*order]
        ):
            seen.not_judged.append(
                f"the {item.rung}, which differs: {names} run more than once in a step, on the "
                f"same inputs in another order"
            )
        elif item.rung in ("loss", "gradient") and names and order is None:
            seen.not_judged.append(
                f"the {item.rung}, which differs: {names} run more than once in a step, and not "
                f"all of their calls are known to agree"
            )
        else:
            kept.append(item)
    result.breaks[:] = kept


def leave_doubtful(seen: PairEvidence, result: Explained, weights: WeightMap) -> None:
    """Differences that may come of weights that were taken for each other, as there are too many of
    one shape to try them all."""
    names = ", ".join(weight_words(pair.b) for pair in weights.own)
    for item in list(result.breaks):
        if item.cause.name == UNKNOWN and item.rung in ("forward", "loss", "gradient"):
            result.breaks.remove(item)
            seen.not_judged.append(
                f"the {item.rung}, which differs: {names} are weights of no layer, of which shapes "
                f"and names do not tell which is which"
            )


def look_at_margins(seen: PairEvidence, result: Explained, before: Judged) -> None:
    """What is left when all that has a name is mended, and what was there before."""
    for stage in STAGES:
        rung = "update" if stage == "state" else stage
        if stage in before.margins:
            seen.found[rung] = max(before.margins[stage], seen.found.get(rung, 0.0))
        if stage in result.open_stages:
            rounded = result.rounded or result.in_float32
            reason = "an earlier rung is open" if rounded else "an earlier rung breaks"
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


def look_at_arithmetic(
    seen: PairEvidence, start: Start, a: PairStep, b: PairStep, facts_b: PairFacts
) -> None:
    """A side that computes more coarsely than float32 does, each against itself."""
    if start.b is None:
        return
    ours, theirs = arithmetic.lost(start.a, a), arithmetic.lost(start.b, b)
    if ours is None or theirs is None:
        seen.not_judged.append("in which precision it is computed: no layer of it is known")
        return
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
