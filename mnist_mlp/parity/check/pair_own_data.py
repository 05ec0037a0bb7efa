"""The data that both sides of a pair bring, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.causes.data import SCALINGS
from mnist_mlp.parity.check.blame import blamed_data
from mnist_mlp.parity.check.pair_brought import Brought
from mnist_mlp.parity.check.pair_data import against_original
from mnist_mlp.parity.check.pair_side import Side, first_batch
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.pair.feed import DATASET, Fed
from mnist_mlp.plan import make_plan
from mnist_mlp.ports.inputs import each
from mnist_mlp.ports.pair import PairJob
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import PortFacts
from mnist_mlp.spec import Spec


def look_at_own_data(
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
    mine = first_batch(rows)
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
