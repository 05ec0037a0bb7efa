"""The losses of two models, one or several: which belong together, and what could be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.settings import differing, short, told
from mnist_mlp.parity.pair.updates import Hypothesis
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.inputs import arrays_of, orders
from mnist_mlp.ports.pair import ClassWeights, Mend, PairFacts, PairLayer
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.rows import targets_of

DOUBLED = (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy_with_logits"))
"""Activations that are within a loss already."""

DISTANCES = ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss")
"""Losses of numbers, so that one is tried for the other."""

ENTROPIES = ("cross_entropy", "nll_loss")
"""Two names of one loss, but for the softmax within."""

Two = tuple[PairLayer | None, PairLayer | None]


def matched(a: PairFacts, b: PairFacts, weights: WeightMap) -> list[Two]:
    """Losses that look at the same layer, then the others in their order; None for no partner."""
    sources = {pair.a.number: pair.b.number for pair in weights.pairs}
    ours, theirs = list(a.all_losses), list(b.all_losses)
    found: list[Two] = []
    for mine in list(ours):
        source = None if mine.behind is None else sources.get(mine.behind)
        same = [x for x in theirs if x.behind is not None and x.behind == source]
        partner = next((x for x in same if x.kind == mine.kind), same[0] if same else None)
        if partner is not None:
            found.append((mine, partner))
            ours.remove(mine)
            theirs.remove(partner)
    unknown = all(None in (x.behind, y.behind) for x, y in zip(ours, theirs, strict=False))
    if len(ours) == len(theirs) and unknown:
        found += zip(ours, theirs, strict=True)
        ours, theirs = [], []
    return [*found, *((x, None) for x in ours), *((None, x) for x in theirs)]


def hypotheses(run: PairRun) -> Iterator[Hypothesis]:
    """What could be behind another loss."""
    a, b, weights = run.facts_a, run.facts_b, run.weights
    pairs = matched(a, b, weights)
    for _, theirs in pairs:
        if theirs is not None:
            yield from _doubled(theirs, b, weights)
            yield from _scores(theirs)
    for ours, theirs in pairs:
        if ours is not None and theirs is not None:
            yield from _of_loss(ours, theirs)
            yield from _scores_of_softmax(ours, theirs, run)
    yield from _class_weights(a, b)
    yield from _weights(pairs)
    yield from _missing(pairs, run)
    yield from _exchanged_targets(run.rows_b)
    if not b.all_losses:
        return
    here = b.all_losses[-1].number
    penalties = {
        pair.b.number: a.penalties[f"{pair.a.number}/kernel"]
        for pair in weights.pairs
        if f"{pair.a.number}/kernel" in a.penalties
    }
    if penalties:
        factors = ", ".join(f"{v:.6g}" for v in dict.fromkeys(penalties.values()))
        text = f"{factors} * sum(w**2) of {len(penalties)} kernels in the original"
        mends = (Mend(here, "penalty", tuple(penalties.items())),)
        places = {pair.b.number: pair.b.name for pair in weights.pairs}
        terms = (f"{f:.6g} * sum(w**2) of {places[number]}" for number, f in penalties.items())
        fix = f"loss = loss + {' + '.join(terms)}, w being its kernel"
        if b.penalties:  # the port's layers have it, and its own step leaves it out
            fix = "loss += sum(model.losses)"
        yield Hypothesis(mends, Cause("penalty_missing", text, fix=fix))
    for loss in b.all_losses:
        if b.losses and loss.kind in ("cross_entropy", "nll_loss"):
            continue
        yield Hypothesis(
            (Mend(loss.number, "aligned"),),
            Cause("targets_broadcast", f"outputs (n, 1) against targets (n,), in {loss.name}"),
        )


def _doubled(loss: PairLayer, b: PairFacts, weights: WeightMap) -> Iterator[Hypothesis]:
    last = loss.behind
    if last is None:
        last = max((pair.b.number for pair in weights.pairs), default=-1)
    for layer in b.layers:
        if layer.number > last and (layer.kind, loss.kind) in DOUBLED:
            yield Hypothesis((Mend(layer.number, "skip"),), Cause("softmax_twice", layer.name))


def _scores(b: PairLayer) -> Iterator[Hypothesis]:
    """Logits or probabilities: what a loss takes its inputs for."""
    if "logits" in b.settings:
        mends = (Mend(b.number, "logits", not b.settings["logits"]),)
        if b.settings["logits"]:
            yield Hypothesis(mends, Cause("softmax_twice", f"from_logits=True in {b.name}"))
        else:
            yield Hypothesis(mends, Cause("logits_as_probabilities", f"in {b.name}"))
    if b.kind == "nll_loss":
        mends = (Mend(b.number, "kind", ("cross_entropy", {})),)
        yield Hypothesis(mends, Cause("log_softmax_missing", f"in front of {b.name}"))


def _of_loss(a: PairLayer, b: PairLayer) -> Iterator[Hypothesis]:
    """Another loss, or the same with other settings."""
    for name, ours, theirs in differing(a, b):
        text = told(name, ours, theirs, b.name)
        mends = (Mend(b.number, name, ours),)
        if name == "reduction" and theirs == "sum":
            fix = f"take the mean over the rows of the batch in {b.name}, not the sum"
            yield Hypothesis(mends, Cause("loss_sum", text, fix=fix))
        elif name == "reduction" and ours == "sum":
            fix = f"sum over the rows of the batch in {b.name}, as the original does"
            yield Hypothesis(mends, Cause("loss_averaged", text, fix=fix))
        elif name == "smoothing":
            fix = f"label_smoothing={short(ours)} in the loss"
            yield Hypothesis(mends, Cause("label_smoothing", text, fix=fix))
        elif name not in ("logits", "weight"):
            yield Hypothesis(mends, Cause("other_loss", text))
    for kind in _kinds_instead(a, b):
        mends = (Mend(b.number, "kind", (kind, dict(a.settings))),)
        yield Hypothesis(mends, Cause("other_loss", f"{b.name} instead of {a.name}"))


def _kinds_instead(a: PairLayer, b: PairLayer) -> tuple[str, ...]:
    """Losses that may be the original's; of entropies, the port's outputs may be logits or not."""
    if a.kind in DISTANCES:
        return (a.kind,) if a.kind != b.kind else ()
    if a.kind.startswith("binary") and not b.kind.startswith("binary"):
        # Of softmax, too, Keras's loss takes the scores, and each by itself.
        return "binary_cross_entropy_with_logits", "binary_cross_entropy"
    return ENTROPIES if a.kind in ENTROPIES and b.kind not in ENTROPIES else ()


def _scores_of_softmax(a: PairLayer, b: PairLayer, run: PairRun) -> Iterator[Hypothesis]:
    """Keras's binary loss takes what went into a softmax for logits, and not its probabilities."""
    kinds = a.kind, b.kind
    if run.facts_a.framework != "keras" or kinds != ("binary_cross_entropy",) * 2:
        return
    last = max((pair.a.number for pair in run.weights.pairs), default=-1)
    if not any(x.kind == "softmax" and x.number > last for x in run.facts_a.layers):
        return
    last = max((pair.b.number for pair in run.weights.pairs), default=-1)
    skipped = [x for x in run.facts_b.layers if x.kind == "softmax" and x.number > last]
    scores = Mend(b.number, "kind", ("binary_cross_entropy_with_logits", dict(a.settings)))
    text = f"{a.name} of Keras takes a softmax's scores for logits, {b.name} its probabilities"
    fix = "binary_cross_entropy_with_logits of the scores, without the softmax"
    mends = (*(Mend(x.number, "skip") for x in skipped), scores)
    yield Hypothesis(mends, Cause("other_loss", text, fix=fix))


def _class_weights(a: PairFacts, b: PairFacts) -> Iterator[Hypothesis]:
    """Weights of classes that only one side has, or other ones."""
    ours, theirs = a.class_weights, b.class_weights
    counted = [(x.counted, x.divides and bool(x.counted)) if x else ({}, False)
               for x in (ours, theirs)]  # fmt: skip
    if counted[0] == counted[1] or len(b.all_losses) != 1:
        return
    loss = b.all_losses[0]
    text = f"{theirs or 'none'} instead of {ours or 'none'}"
    mends = (Mend(loss.number, "class_weights", ours),)
    yield Hypothesis(mends, Cause("class_weights", text, fix=_fix_of_classes(ours, loss, b)))


def _fix_of_classes(wanted: ClassWeights | None, loss: PairLayer, b: PairFacts) -> str:
    if b.framework == "keras":
        if wanted is None or not wanted.divides:
            words = "None" if wanted is None else f"{{{wanted}}}"
            return f"class_weight={words} in fit"
        listed = ", ".join(f"{weight:.6g}" for _, weight in wanted.by_class)
        return f"sample_weight=w[y] * len(y) / sum(w[y]) in each batch, w being [{listed}]"
    if wanted is None:
        return "no weight and no pos_weight in the loss"
    numbers = [dict(wanted.by_class).get(k, 1.0) for k in range(wanted.by_class[-1][0] + 1)]
    if loss.kind == "binary_cross_entropy_with_logits" and numbers[0] == 1 and len(numbers) == 2:
        return f"pos_weight=torch.tensor({numbers[1]:.6g}) in the loss"
    shown = ", ".join(f"{weight:.6g}" for weight in numbers)
    return (
        f'(w[y] * losses).mean(), w being torch.tensor([{shown}]) and losses with reduction="none"'
    )


def _weights(pairs: Sequence[Two]) -> Iterator[Hypothesis]:
    """Weights of several losses in their sum: each by itself, then all of them."""
    mends, words = [], []
    for ours, theirs in pairs:
        if ours is None or theirs is None:
            continue
        for field, right, wrong in differing(ours, theirs):
            if field != "weight":
                continue
            mend = Mend(theirs.number, "added", right - wrong)
            text = f"{short(wrong)} instead of {short(right)} for {ours.name}"
            mends.append(mend)
            words.append(text)
            name = "loss_weight" if wrong else "loss_left_out"
            yield Hypothesis((mend,), Cause(name, text if wrong else f"{ours.name}: {text}"))
    if len(mends) > 1:
        yield Hypothesis(tuple(mends), Cause("loss_weight", "; ".join(words)))


def _missing(pairs: Sequence[Two], run: PairRun) -> Iterator[Hypothesis]:
    """A loss that the port does not take at all, of an output that it has."""
    numbers = {pair.a.number: pair.b.number for pair in run.weights.pairs}
    if not any(theirs is not None for _, theirs in pairs):
        return
    for ours, theirs in pairs:
        if theirs is not None or ours is None or ours.behind not in numbers:
            continue
        place = _target_of(ours, run)
        if place is None:
            continue
        weight = float(ours.settings.get("weight", 1.0))
        term = (ours.kind, dict(ours.settings), weight, place)
        yield Hypothesis(
            (Mend(numbers[ours.behind], "term", term),),
            Cause("loss_left_out", f"{ours.name}, with weight {short(weight)} in the original"),
        )


def _target_of(loss: PairLayer, run: PairRun) -> int | None:
    """The place, among the port's targets, of the one that a loss of the original's looks at."""
    known = dict(zip((x.number for x in run.facts_a.losses), run.facts_a.targets, strict=False))
    place = known.get(loss.number)
    if place is None or run.rows_a is None:
        return None
    wanted = targets_of(arrays_of(run.rows_a.y)[place]).ravel()
    for number, given in enumerate(map(targets_of, arrays_of(run.rows_b.y))):
        if given.size == wanted.size and np.allclose(given.ravel(), wanted, rtol=1e-6):
            return number
    return None


def _exchanged_targets(rows: PairRows) -> Iterator[Hypothesis]:
    """Targets of equal shapes, which a port may take for each other."""
    arrays = arrays_of(rows.y)
    shapes = [y.shape[1:] for y in arrays]
    names = sorted(rows.y) if isinstance(rows.y, dict) else range(1, len(arrays) + 1)
    for order in orders(shapes, shapes)[1:]:
        moved = ", ".join(f"{names[k]} for {names[i]}" for i, k in enumerate(order) if i != k)
        mends = (Mend(None, "targets", tuple(order)),)
        yield Hypothesis(mends, Cause("targets_swapped", f"target {moved}"))
