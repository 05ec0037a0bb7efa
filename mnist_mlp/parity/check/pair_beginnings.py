"""How two models begin: the weights that one of them lacks, and how all are drawn."""

from __future__ import annotations

import numpy as np

from mnist_mlp.parity.check.pair_side import Start
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.initial import initial_breaks
from mnist_mlp.parity.pair.judge import ZERO
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import WeightMap, weight_words
from mnist_mlp.ports.pair import PairLayer, tensor_name
from mnist_mlp.reference import Tensors


def look_at_beginnings(seen: PairEvidence, start: Start, run: PairRun | None) -> None:
    """Enter how initial weights differ, once the steps of `run` have told which weight is which."""
    weights = start.weights if run is None else run.weights
    if run is None and weights.lone:  # whether they have a counterpart, their steps would have told
        return
    told = run is None or not run.others or run.agrees
    if not told and weights.own:
        names = ", ".join(weight_words(pair.b) for pair in weights.own)
        seen.told.append(f"how {names} begin, of which it is not known which is which")
    known = weights if told else WeightMap(weights.pairs)
    found, seen.compared["init"] = initial_breaks(*start.draws, known)
    seen.breaks += found
    for layer in weights.lone:
        item = _lone(layer, weights, start)
        if isinstance(item, Break):
            seen.breaks.append(item)
        else:
            seen.told.append(item)


def _lone(layer: PairLayer, weights: WeightMap, start: Start) -> Break | str:
    """A weight of no layer that one side lacks, if it has any part in the loss. Without it, the
    first step agrees to its gradients."""
    here, step = (0, start.a) if weights.lacking == "b" else (1, start.b)
    (role,) = layer.shapes
    name = tensor_name(layer.number, role)
    gradients: Tensors = step.gradients if step is not None else {}
    largest = max((float(np.abs(g).max(initial=0.0)) for g in gradients.values()), default=0.0)
    mine = float(np.abs(gradients[name]).max(initial=0.0)) if name in gradients else 0.0
    words = weight_words(layer)
    if mine <= ZERO * largest:
        return f"{words}, which only one side has, and whose gradient is zero"
    shape = "x".join(map(str, layer.shapes[role])) or "1"
    begins = start.draws[here][0][name] if start.draws[here] else None
    missing = weights.lacking == "b"
    if missing and begins is not None and begins.ndim < 2 and not begins.any():
        fix = f"by hand, add a bias of {shape} zeros, as the original's {words}"
        cause = Cause("bias_missing", f"{words} of the original", fix=fix)
    else:
        text = f"the original's {words} ({shape})" if missing else f"{words} ({shape})"
        lacks = "is not in the port" if missing else "is not in the original"
        cause = Cause(UNKNOWN, f"{text} {lacks}")
    got, expected = ("none", "one") if missing else ("one", "none")
    place = Place(0, 0, None, words)
    return Break(side="b", rung="init", place=place, got=got, expected=expected, cause=cause)
