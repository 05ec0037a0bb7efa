"""Which lines of the users' files are to blame for a break, by its rung, its cause and its layer.

Each side tells its lines by what they are about (`PortFacts.lines`, `PairFacts.lines`) and those of
its layers. A break whose lines are known already keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mnist_mlp.parity.check.supported import family
from mnist_mlp.parity.findings import UNKNOWN, Break, Side
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.protocol import PortFacts, PortLayer

Roles = Mapping[str, UserLine]

_SCHEDULE = ("schedule", "optimizer")
_CLIPPING = ("clipping", "trainer", "step", "optimizer")
_LENGTH = ("trainer", "fit")

OF_CAUSE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("schedule_ignored", "undeclared_schedule", "schedule_by_epoch", "schedule_by_step",
         "other_schedule", "schedule_in_float32"),
        _SCHEDULE,
    ),
    **dict.fromkeys(
        ("clip_missing", "clip_by_norm", "clip_per_tensor", "clip_by_value", "clip_limit",
         "clip_norm_slack"),
        _CLIPPING,
    ),
    "plateau_settings": ("plateau", "schedule"),
    "early_stopping_settings": ("early_stopping", *_LENGTH),
    **dict.fromkeys(("epochs_missing", "more_epochs"), _LENGTH),
    **dict.fromkeys(("bfloat16_arithmetic", "float16_arithmetic"), ("trainer", "fit")),
    "gradient_accumulation": ("trainer", "optimizer"),
    "accumulation_remainder": ("trainer", "step", "optimizer"),
    "repeated_update": ("step", "optimizer"),
    "class_weights": ("class_weights", "loss"),
    **dict.fromkeys(
        ("gradients_not_cleared", "gradients_cleared_early", "stale_gradient", "evaluation_mode"),
        ("step",),
    ),
    "unbiased_variance": (),
}  # fmt: skip
"""Where other lines are to blame than the rung says; the first that is known is taken."""

OF_RUNG: Mapping[str, tuple[str, ...]] = {
    "order": ("loader", "fit"),
    "loss": ("loss", "backward"),  # a loss by hand is no call that is known
    "update": ("optimizer",),
}


def blamed(breaks: Sequence[Break], a: Roles, b: Roles) -> list[Break]:
    """With the lines of loss, optimizer, schedule or `fit` where no others are known."""
    return [item if item.lines else item.blaming(_by_role(item, a, b)) for item in breaks]


def blamed_data(breaks: Sequence[Break], a: Roles, b: Roles) -> list[Break]:
    """Breaks of what the sides bring: the lines of their loaders."""
    return [item.blaming(_first(("loader", "fit"), a, b)) for item in breaks]


def _by_role(item: Break, a: Roles, b: Roles) -> dict[Side, UserLine]:
    roles = OF_CAUSE.get(item.cause.name, OF_RUNG.get(item.rung, ()))
    if item.rung == "spec" and item.cause.name == UNKNOWN and "epochs" in item.got:
        roles = _LENGTH
    return _first(roles, a, b)


def _first(roles: Sequence[str], a: Roles, b: Roles) -> dict[Side, UserLine]:
    sides: tuple[tuple[Side, Roles], ...] = (("a", a), ("b", b))
    found = ((side, [x[role] for role in roles if role in x]) for side, x in sides)
    return {side: lines[0] for side, lines in found if lines}


# --- Dense networks -------------------------------------------------------------------------------

AFTER: Mapping[str, str] = {
    "dropout": "dropout",
    "dropout_rate": "dropout",
    "dropout_missing": "dropout",
    "normalisation_missing": "",
    "normalisation_settings": "",
    "batch_normalisation": "batch normalisation",
    "layer_normalisation": "layer normalisation",
}
"""Causes that are about a layer behind a dense one, and the family of that layer (empty: any
normalisation)."""

ACTIVATION = ("activation_missing", "other_activation", "hard_sigmoid", "leaky_relu_slope",
              "gelu_tanh_approximation", "extra_activation")  # fmt: skip

OF_THE_LAYER = ("frozen_tensor", "padding_index")
"""Causes beyond the forward pass that are about a layer."""

SOFTMAX = ("softmax_twice", "softmax_over_batch")


def blamed_dense(breaks: Sequence[Break], a: PortFacts | None, b: PortFacts) -> list[Break]:
    """As `blamed`, with the lines of layers, whose places count dense layers."""
    found: list[Break] = []
    sides: tuple[tuple[Side, PortFacts | None], ...] = (("a", a), ("b", b))
    for item in breaks:
        lines = {
            side: line
            for side, facts in sides
            if facts is not None and (line := _of_layer(item, facts)) is not None
        }
        found.append(item.blaming(lines) if lines and not item.lines else item)
    return blamed(found, a.lines if a else {}, b.lines)


def _of_layer(item: Break, facts: PortFacts) -> UserLine | None:
    name, at = item.cause.name, item.layer
    dense = [layer for layer in facts.layers if layer.dense]
    if name == "unsupported_layer":
        made = [x for x in facts.layers if f"{x.kind} {x.name}" == item.cause.value]
        return made[0].line if made else None
    if name in SOFTMAX:
        return _activation(facts, len(dense) - 1)
    if at is None or not 0 <= at < len(dense):
        return None
    if item.rung == "init" or name in OF_THE_LAYER:
        return dense[at].line
    if item.rung != "forward":
        return None
    if name in AFTER:
        behind = [x for x in _behind(facts.layers, at) if _is_of(x, AFTER[name])]
        if behind:
            return behind[0].line
        line = dense[at].line
        return line.as_role("before") if line is not None else None
    if name in ACTIVATION and (line := _activation(facts, at)) is not None:
        return line
    line = dense[at].line
    # Of a Keras layer, the activation is an argument; in torch it stands behind it.
    inside = facts.framework == "keras" or item.tensor == "pre_activation"
    return line if inside or line is None else line.as_role("before")


def _is_of(layer: PortLayer, wanted: str) -> bool:
    return family(layer) == wanted if wanted else "normalisation" in family(layer)


def _behind(layers: Sequence[PortLayer], at: int) -> list[PortLayer]:
    """Layers between the dense layer `at` and the next."""
    after, found = -1, []
    for layer in layers:
        after += layer.dense
        if after == at and not layer.dense:
            found.append(layer)
    return found


def _activation(facts: PortFacts, at: int) -> UserLine | None:
    """The activation behind a dense layer: a layer of its own, or a function's call."""
    called = facts.lines.get(f"activation {at}")
    made = [x.line for x in _behind(facts.layers, at) if family(x) == "an activation"]
    return made[0] if made else called
