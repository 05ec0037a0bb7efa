"""A user's own port, rung by rung.

Its records come from one real training run of its own framework (`mnist_mlp.ports.protocol`). They
are judged exactly as a backend's are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DivergedError, UsageError
from mnist_mlp.parity.causes import init
from mnist_mlp.parity.causes.data import SCALINGS
from mnist_mlp.parity.causes.explain import Explanation
from mnist_mlp.parity.causes.forward import without_biases
from mnist_mlp.parity.check import metrics
from mnist_mlp.parity.check.blame import blamed_data
from mnist_mlp.parity.check.own_data import DataVerdict, against_plan
from mnist_mlp.parity.check.pair_brought import Brought
from mnist_mlp.parity.check.pair_data import against_original
from mnist_mlp.parity.check.steps import PortRun, Setting, look_at_steps
from mnist_mlp.parity.check.supported import family, named, not_judged, status
from mnist_mlp.parity.findings import (
    STEP_RUNGS,
    UNKNOWN,
    Break,
    Cause,
    Evidence,
    Place,
    Side,
)
from mnist_mlp.parity.steps import arbiter, drift
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.ports.protocol import PortEpoch, PortFacts, PortLayer
from mnist_mlp.reference import Array, Tensors, forward, scale_pixels
from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker


@dataclass(eq=False, kw_only=True)
class PortEvidence(Evidence):
    """What a port showed.

    `found` holds its own weights before a window's first step, `of_loader` the breaks of its own
    loader, `logits` its answers for the test rows, of which `different` are in other classes than
    the reference's from the same final weights. `explained` is None where no step was judged.
    """

    label: str
    framework: str
    facts: PortFacts
    not_judged: tuple[str, ...] = ()
    """What no rung can judge, in words: without a break, nobody knows."""
    remarks: tuple[str, ...] = ()
    """What the specification read off it cannot say."""
    epochs: list[PortEpoch] = field(default_factory=list)
    found: dict[int, Tensors] = field(default_factory=dict)
    explained: Explanation | None = None
    own_data: DataVerdict = field(default_factory=DataVerdict)
    logits: Array | None = None
    different: int = 0


def setting(spec: Spec, dataset: Dataset) -> Setting:
    """The specification's plan and recipe on a data set."""
    plan = make_plan(spec, dataset)
    height, width = dataset.images.shape[1:]
    recipe = Recipe(spec, arbiter.eps_of(spec.training.precision), (height, width))
    data = training_data(plan, dataset)
    return Setting(ReferenceRun(plan, data), drift.honest_run(plan, data), recipe)


def look_at_port(
    worker: Worker,
    facts: PortFacts,
    given: Setting,
    dataset: Dataset,
    *,
    label: str,
    side: Side,
    original: PortEvidence | None = None,
    ran: Callable[[], PortRun] | None = None,
) -> PortEvidence:
    """Run a port and climb every rung that a port has.

    Side "a" is an `original`, whose own data nothing judges; they judge those of side "b". `ran`
    returns the port's `first_run` if that is already being made.

    Raises
    ------
    DivergedError
        Its numbers are not finite, and nothing broke before.
    """
    unjudged = not_judged(facts, original=side == "a")
    seen = PortEvidence(label=label, framework=facts.framework, facts=facts, not_judged=unjudged)
    if not dense_layers_agree(seen, given, side):
        return seen
    _refuse_strange_draws(seen)
    given = _without_biases(seen, given, side)
    layers = given.plan.spec.model.layers
    if given.draws:
        seen.breaks += init.pair_breaks(given.draws, facts.draws, layers, side=side)
    else:
        seen.breaks += init.native_breaks(facts.draws, layers, side=side)
    _steps(seen, worker, given, side, ran)
    if side == "b":
        _own_data(seen, given, dataset, original)
    breaks, missing, seen.compared["metrics"] = metrics.breaks(
        seen.epochs, side, before=seen.breaks, plain=given.plain is None
    )
    seen.breaks += breaks
    seen.missing |= missing
    measured = not given.draws or given.logits is not None
    if given.passed_by:
        seen.leave_out("predictions", reason="layers were passed by that evaluation needs")
    elif not measured:
        seen.leave_out("predictions", reason="what the original predicts is not known")
    elif "predictions" not in seen.missing and (not seen.breaks or side == "a"):
        _predictions(seen, worker, given, side)
    return seen


def _diverged(seen: PortEvidence, what: str) -> DivergedError:
    return DivergedError(
        f"{seen.label}: {what}; the same step from the same weights is finite in exact arithmetic. "
        f"Look there for a division by zero, a logarithm of 0, or a learning rate that is no number"
    )


def _refuse_strange_draws(seen: PortEvidence) -> None:
    for number, draw in enumerate(seen.facts.draws, start=1):
        for name, w in draw.items():
            if not np.isfinite(w).all():
                raise DivergedError(
                    f"{seen.label}: {name} is not finite before training (draw {number} of its "
                    f"initial weights); see how that layer is initialised"
                )


# --- Layers and initial weights -------------------------------------------------------------------

AFTER_LAYERS = ("forward", "loss", "gradient", "update", "metrics", "predictions")
"""Rungs that cannot be looked at without the specification's layers."""


def dense_layers_agree(seen: PortEvidence, given: Setting, side: Side) -> bool:
    """Whether the port's dense layers are those of the specification."""
    spec = given.plan.spec
    dense = [layer for layer in seen.facts.layers if layer.dense]
    shapes = [(layer.inputs, layer.units) for layer in dense]
    expected = [(inputs, units) for inputs, units, _ in spec.model.layers]
    if shapes == expected:
        seen.compared["spec"] = len(spec.model.layer_sizes)
        seen.compared["init"] = 2 * len(dense) if seen.facts.draws else 0
        return True
    if not dense and not seen.facts.layers:
        seen.leave_out(
            "init",
            *AFTER_LAYERS,
            reason="its weights are in no layer that can be watched",
        )
        return False
    others = [layer for layer in seen.facts.layers if _does_more(layer)]
    at = next(
        (i for i, (x, y) in enumerate(zip(shapes, expected, strict=False)) if x != y),
        min(len(shapes), len(expected)),
    )
    details = " ".join(f"{i}-{u}" for i, u in shapes) or "no dense layer was found"
    if (others and not dense) or (others and len(dense) <= len(expected)):
        cause = Cause("unsupported_layer", f"{others[0].kind} {others[0].name}")
    elif len(shapes) > len(expected):
        cause = Cause("extra_layer", f"{dense[at].kind} {dense[at].name}")
    elif len(shapes) < len(expected):
        cause = Cause("layers_missing", details)
    else:
        cause = Cause("other_shapes", details)
    seen.breaks.append(
        Break(
            side=side,
            rung="init",
            place=Place(epoch=0, step=0, layer=at, tensor="kernel"),
            got=details,
            expected=" ".join(f"{i}-{u}" for i, u in expected),
            cause=cause,
        )
    )
    seen.leave_out(*AFTER_LAYERS, reason="the layers are not those of the specification")
    return False


def _does_more(layer: PortLayer) -> bool:
    """Whether a layer does what dense ones and activations do not."""
    unknown = not layer.native and not layer.dense and layer.parameters > 0
    return unknown or status(layer) == "refused"


def _without_biases(seen: PortEvidence, given: Setting, side: Side) -> Setting:
    """Layers that have no bias: told, and no longer expected of the steps."""
    dense = [layer for layer in seen.facts.layers if layer.dense]
    without = [number for number, layer in enumerate(dense) if not layer.bias]
    if not without:
        return given
    details = f"layer{'s' if len(without) > 1 else ''} {', '.join(map(str, without))}"
    cause = Cause("bias_missing", details)
    seen.breaks.append(
        Break(
            side=side,
            rung="init",
            place=Place(epoch=0, step=0, layer=without[0], tensor="bias"),
            got="no bias",
            expected="a bias",
            cause=cause,
        )
    )
    return replace(given, recipe=without_biases(given.recipe, without))


# --- Own data -------------------------------------------------------------------------------------


def _own_data(
    seen: PortEvidence, given: Setting, dataset: Dataset, original: PortEvidence | None
) -> None:
    """What a port brings, against its original's or, without one, against the plan's."""
    if original is None:
        found = against_plan(seen.facts, given.plan, given.data, given.recipe, side="b")
    else:
        found = against_original(_brought(original), _brought(seen), given.plan, dataset)
    seen.own_data = found
    if found.scaling_judged:
        assert original is not None
        if any(_of_scaling(item) for item in (*seen.breaks, *original.breaks)):
            # One of the models scales what it is given. Test rows as the plan has them, in [0, 1],
            # are then not what that model is made for.
            seen.leave_out("predictions", reason="the two models want pixels on different scales")
        seen.breaks = [item for item in seen.breaks if not _of_scaling(item)]
        original.breaks = [item for item in original.breaks if not _of_scaling(item)]
    if found.steps_judged:
        seen.breaks = [item for item in seen.breaks if item.cause.name != "steps_missing"]
    lines = original.facts.lines if original else {}
    seen.breaks += blamed_data(found.breaks, lines, seen.facts.lines)
    seen.noted += found.noted
    seen.missing |= found.missing
    if original is None:
        _scaled_once(seen)


def _brought(seen: PortEvidence) -> Brought:
    return Brought(seen.facts, seen.explained.recipe if seen.explained else None)


def _of_scaling(item: Break) -> bool:
    """Whether a model scales its inputs otherwise, as a step showed it."""
    return item.rung == "data" and item.cause.name in (*SCALINGS, "left_out")


def _scaled_once(seen: PortEvidence) -> None:
    """A loader that gives greys to a model that scales them itself: together they are right."""
    halves = {"pixels_not_scaled", "pixels_scaled_twice"}
    found = [item for item in seen.breaks if item.cause.name in halves]
    if len(found) == 2 and {item.cause.name for item in found} == halves:
        seen.breaks = [item for item in seen.breaks if item not in found]


# --- Steps ----------------------------------------------------------------------------------------


def _steps(
    seen: PortEvidence,
    worker: Worker,
    given: Setting,
    side: Side,
    first: Callable[[], PortRun] | None,
) -> None:
    try:
        ran, explained, whole = look_at_steps(worker, given, side, first)
    except DivergedError as error:
        raise _diverged(seen, str(error)) from None
    seen.steps, seen.epochs, seen.found = ran.steps, ran.epochs, ran.found
    seen.explained = explained
    seen.breaks += [*whole, *(_named_by_layers(item, seen.facts) for item in explained.breaks)]
    seen.noted += explained.noted
    seen.margins = dict(explained.margins)
    if seen.broken(*STEP_RUNGS):
        seen.leave_out("trajectory", reason="an earlier rung breaks")
    elif ran.away is None:
        seen.leave_out("trajectory", reason="no weights between judged steps can be measured")
    else:
        seen.margins["trajectory"] = ran.away / drift.LIMIT
    if ran.epochs:  # by what was run: the batches of each epoch, and the epochs
        all_ran = len(ran.epochs) >= given.plan.spec.training.epochs
        seen.compared["spec"] += 2 if all_ran else 1


def _named_by_layers(item: Break, facts: PortFacts) -> Break:
    """A difference behind a dense layer that has no name, where a layer stands that has one."""
    if item.cause.name != UNKNOWN or item.rung != "forward" or item.tensor != "activation":
        return item
    after = -1
    for layer in facts.layers:
        after += layer.dense
        if after == item.layer and status(layer) == "settings":
            name = family(layer).replace(" ", "_")
            return replace(item, cause=Cause(name, f"{named(layer)} after layer {after}"))
    return item


# --- Predictions ----------------------------------------------------------------------------------


def _predictions(seen: PortEvidence, worker: Worker, given: Setting, side: Side) -> None:
    """Classes of the test rows by the port when it evaluates, from the reference's last weights."""
    plan = given.plan
    end = plan.steps_per_epoch * plan.spec.training.epochs + 1
    weights = given.exact.states([end])[end].weights
    try:
        logits = worker.predict_port(weights, given.data.test_images)
    except UsageError as error:
        seen.missing["predictions"] = str(error)
        return
    if len(logits) != len(given.data.test_labels):
        details = f"{len(logits)} of {len(given.data.test_labels)} test rows"
        cause = Cause(UNKNOWN, f"the port answers for {details}")
        seen.breaks.append(
            Break(
                side=side,
                rung="predictions",
                place=Place(tensor="logits"),
                got=details,
                cause=cause,
            )
        )
        return
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise DivergedError(
            f"{seen.label}: its logits are not finite for test row {row}, from weights that are; "
            f"look at what the model does in evaluation only"
        )
    seen.logits = logits
    exact = given.logits
    if exact is None:
        exact = forward(
            {name: w.astype(np.float64) for name, w in weights.items()},
            plan.spec.model.activations,
            scale_pixels(given.data.test_images, dtype=np.float64),
        ).logits
    best = np.sort(exact, axis=1)
    margin = best[:, -1] - best[:, -2]
    # Rows on the border between two classes may fall on either side by a rounding.
    decided = margin > 1e3 * given.recipe.eps * np.abs(exact).max()
    moved = (logits.argmax(axis=1) != exact.argmax(axis=1)) & decided
    seen.compared["predictions"] = int(decided.sum())
    seen.different = int(moved.sum())
    if seen.different and not seen.breaks:
        row = int(np.flatnonzero(moved)[0])
        seen.breaks.append(
            Break(
                side=side,
                rung="predictions",
                place=Place(tensor="logits"),
                got=f"class {int(logits[row].argmax())} for test row {row}",
                expected=f"class {int(exact[row].argmax())}",
                cause=Cause(UNKNOWN, f"{seen.different} rows, though training steps are clean"),
            )
        )
