"""What makes two optimizers differ: settings, schedules, and the frameworks' own rules.

Each side's updates are first held against its own framework's rule, as it is written down in
`update_rules`. Where both follow theirs, the settings of the two sides are all that can differ, and
the changes that make the port's updates the original's are worked out in NumPy. Then they are tried
on the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.clip_hypotheses import of_clipping, of_slack
from mnist_mlp.parity.pair.judge import LIMITS
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.schedules import CAUSES as SCHEDULE_CAUSES
from mnist_mlp.parity.pair.updates import Hypothesis, Optimizers, same, short
from mnist_mlp.ports.pair import Mend, layer_and_role
from mnist_mlp.ports.update_rules import FIELDS, ByStep, ByTensor

IMMEASURABLE = 1e30
"""Share of a movement of nothing."""

NEGLIGIBLE = 4 * float(np.finfo(np.float32).eps)
"""A difference of rules below this share of a tensor's largest movement is only noted. It is what
float32 loses in the root, the quotient and the products of an update, so that no run shows it."""

ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "keras": {"initial_accumulator": "initial_accumulator_value"},
    "torch": {
        "learning_rate": "lr", "epsilon": "eps", "rate_decay": "lr_decay",
        "initial_accumulator": "initial_accumulator_value",
    },
}  # fmt: skip
"""What a framework calls a setting, where that is another name."""


def explain(
    run: PairRun,
    removes: Callable[[Sequence[Hypothesis]], bool],
    biases: Sequence[Hypothesis] = (),
) -> tuple[Hypothesis, ...] | None:
    """Changes of the port's optimizer that make its updates the original's, all of them needed.

    `biases` are changes of which tensors it moves. They are worked out by rule, and then `removes`
    is asked whether they do so in the port itself. None where an optimizer follows no rule that is
    known, or no changes do.
    """
    both = Optimizers.of(run)
    if not both.known or not both.port_follows_its_rule:
        return None
    chosen = [*biases, *hypotheses(both)]
    if not chosen or both.left(chosen) > LIMITS["update"]:
        return None
    for each in list(chosen):
        rest = [x for x in chosen if x is not each]
        if both.left(rest) <= LIMITS["update"]:
            chosen = rest
    if not chosen:
        return None
    if not removes(chosen):
        # A schedule of Keras, asked as often as the original's, has its rates in float32.
        chosen = [replace(each, mends=each.expected or each.mends) for each in chosen]
        if not removes(chosen):
            return None
    return tuple(_sized(each, chosen, both) for each in chosen)


def _sized(each: Hypothesis, chosen: Sequence[Hypothesis], both: Optimizers) -> Hypothesis:
    """With the size of what is left if this alone is not mended."""
    size = both.left([x for x in chosen if x is not each])
    rule = any(mend.field in ("epsilon_in", "clip_slack") for mend in each.mends)
    noted = each.noted or (rule and size <= NEGLIGIBLE)
    words = f"it changes an update by {size:.2g} of a tensor's largest movement"
    if size >= IMMEASURABLE:
        words = "it moves what the original leaves as it is"
    if size <= NEGLIGIBLE:
        words += ", which float32 does not hold"
    cause = replace(each.cause, value=f"{each.cause.value}; {words}")
    return replace(each, cause=cause, noted=noted)


# --- Hypotheses -----------------------------------------------------------------------------------


def hypotheses(both: Optimizers) -> Iterator[Hypothesis]:
    """A change for each setting in which the two sides differ."""
    a, b = both.first("a"), both.first("b")
    if a["kind"] != b["kind"]:
        yield _other_kind(both)
        return
    for field in ("learning_rate", "weight_decay", "decoupled", "maximize", "clip_slack", "clip",
                  *FIELDS[a["kind"]]):  # fmt: skip
        if field == "epsilon" or (field == "clip_slack" and _differs(both, "clip")):
            continue
        if _differs(both, field):
            yield _of_field(both, field)
        elif field == "clip" and a["clip"] and _differs(both, "clip_at"):
            yield of_clipping(both)
    if "epsilon" in a and _differs(both, "epsilon") and not _differs(both, "epsilon_in"):
        name = "adam_epsilon" if a["kind"] == "Adam" else "optimizer_settings"
        yield _plain(both, "epsilon", name)


def _differs(both: Optimizers, field: str) -> bool:
    return _first_pair(both, field) is not None


def _first_pair(both: Optimizers, field: str) -> tuple[Any, Any] | None:
    """The two values of a setting where they first differ."""
    for ours, theirs in zip(both.values("a", field), both.values("b", field), strict=True):
        for name in ours:
            if name in theirs and not same(ours[name], theirs[name]):
                return ours[name], theirs[name]
    return None


def _of_field(both: Optimizers, field: str) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    ours, theirs = a.get(field), b.get(field)
    if field == "learning_rate":
        return _of_rate(both)
    if field.startswith("clip"):
        return of_clipping(both) if field == "clip" else of_slack(both)
    if field == "weight_decay":
        return _of_decay(both)
    if field == "epsilon_in":
        return _of_place(both)
    if field == "decoupled":
        return _plain(both, field, "coupled_weight_decay" if ours else "decoupled_weight_decay")
    if field == "rate_in_velocity":
        name = "learning_rate_outside_velocity" if ours else "learning_rate_in_velocity"
        return _plain(both, field, name)
    if field == "momentum":
        name = "undeclared_momentum" if not ours else "momentum_missing" if not theirs else field
        return _plain(both, field, name)
    if field == "nesterov":
        return _plain(both, field, "nesterov_missing" if ours else "undeclared_nesterov")
    return _plain(both, field, CAUSES.get(field, "optimizer_settings"))


CAUSES = {
    "maximize": "gradient_ascent",
    "beta_1": "adam_betas",
    "beta_2": "adam_betas",
    "initial_accumulator": "adagrad_initial_accumulator",
    "momentum_decay": "nadam_momentum_decay",
}


IN_WORDS = {
    "decoupled": ("within the gradient", "subtracted from the weights"),
    "rate_in_velocity": ("the velocity is free of the rate", "the velocity contains the rate"),
    "nesterov": ("plain momentum", "Nesterov's momentum"),
    "maximize": ("down the gradient", "up the gradient"),
}
"""What a port without and with it does, of settings that say yes or no."""


def _plain(both: Optimizers, field: str, name: str) -> Hypothesis:
    """The original's value in the port."""
    first = both.first("a")[field], both.first("b")[field]
    ours, theirs = _first_pair(both, field) or first
    known = ARGUMENTS[both.frameworks[1]]
    text = IN_WORDS[field][bool(theirs)] if field in IN_WORDS else _told(field, ours, theirs)
    fix = ""
    if name == "optimizer_settings":
        text = f"{text}, {both.first('b')['kind']}"
    if isinstance(ours, int | float) and field not in IN_WORDS:
        fix = f"{_argument(known, field, both)}={short(ours)} in the optimizer"
    return Hypothesis((Mend(None, field, _wanted(both, field)),), Cause(name, text, fix=fix))


def _argument(known: Mapping[str, str], field: str, both: Optimizers) -> str:
    if both.frameworks[1] == "torch" and field in ("beta_1", "beta_2"):
        return f"betas[{int(field[-1]) - 1}]"
    if both.frameworks[1] == "torch" and field == "rho" and both.first("b")["kind"] == "RMSprop":
        return "alpha"
    return known.get(field, field)


def _told(field: str, ours: Any, theirs: Any) -> str:
    return f"{field} {short(theirs)} instead of {short(ours)}"


def _wanted(both: Optimizers, field: str) -> Any:
    """The original's value of a setting, for the port: by step or by tensor where it varies."""
    values = both.values("a", field)
    wanted = {
        theirs: _over_steps([step.get(name) for step in values])
        for name in values[0]
        for theirs in both.names[name]
    }
    first = next(iter(wanted.values()))
    if all(each == first for each in wanted.values()):
        return first
    return ByTensor(tuple(wanted.items()))


def _over_steps(values: Sequence[Any]) -> Any:
    constant = all(value == values[0] for value in values)
    return values[0] if constant else ByStep(tuple(values))


def _other_kind(both: Optimizers) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    fields = [field for field in a if field not in ("name", "part_of")]
    mends = tuple(Mend(None, field, _wanted(both, field)) for field in fields)
    rates = [each["learning_rate"] for each in (b, a)]
    text = f"{b['name']} (rate {short(rates[0])}) instead of {a['name']} (rate {short(rates[1])})"
    return Hypothesis(mends, Cause("other_optimizer", text, fix=f"{a['name']} in {_where(both)}"))


def _where(both: Optimizers) -> str:
    return "configure_optimizers" if both.frameworks[1] == "torch" else "compile"


def _of_rate(both: Optimizers) -> Hypothesis:
    """Another rate, or another schedule, as the whole run shows it."""
    plain, whole = _plain(both, "learning_rate", "learning_rate"), both.schedules
    if whole is None:
        return _of_own_rates(both, plain)
    if whole.scaled or whole.what != "learning rate":
        return plain
    if whole.first is None:
        text = f"{whole.words[0]} for {whole.words[1]}"
        return Hypothesis(plain.mends, Cause("schedule_in_float32", text), noted=True)
    if whole.interval is None:
        return Hypothesis(plain.mends, whole.cause)
    return Hypothesis((Mend(None, "interval", whole.interval),), whole.cause, expected=plain.mends)


def _of_own_rates(both: Optimizers, plain: Hypothesis) -> Hypothesis:
    """Rates that a user's own code changes, as the judged steps show them."""
    ours, theirs = both.rates("a"), both.rates("b")
    sides = tuple("constant" if len(set(x)) == 1 else "changes" for x in (ours, theirs))
    if sides == ("constant", "constant"):
        return plain
    at = next((k for k, (x, y) in enumerate(zip(ours, theirs, strict=True)) if not same(x, y)), 0)
    text = f"{_told('learning_rate', ours[at], theirs[at])} at step {at + 1}"
    name = SCHEDULE_CAUSES.get(sides, "other_schedule")
    return Hypothesis(plain.mends, Cause(name, text))


def _of_decay(both: Optimizers) -> Hypothesis:
    ours, theirs = (both.values(side, "weight_decay")[0] for side in "ab")
    mends = [Mend(None, "weight_decay", _wanted(both, "weight_decay"))]
    sizes = [max(each.values()) for each in (ours, theirs)]
    if not sizes[1]:
        if _differs(both, "decoupled"):  # which cannot matter where there is no decay
            mends.append(Mend(None, "decoupled", both.first("a")["decoupled"]))
        text = f"none instead of {short(sizes[0])}"
        cause = Cause("weight_decay_missing", text, fix=_fix_of_decay(both, sizes[0]))
        return Hypothesis(tuple(mends), cause)
    if same(*sizes):
        odd = [name for name in ours if not same(ours[name], theirs.get(name))]
        more = _tensors(both, [name for name in odd if not ours[name]])
        fewer = _tensors(both, [name for name in odd if ours[name]])
        text = f"{short(sizes[0])} acts" + (f" on {more} too" if more else "")
        text += (" and" if more and fewer else "") + (f" not on {fewer}" if fewer else "")
        parts = [f"{short(sizes[0])} for {fewer}"] * bool(fewer) + [f"0 for {more}"] * bool(more)
        fix = f"weight_decay={' and '.join(parts)}, by groups of parameters"
        if both.frameworks[1] == "keras":
            fix = _fix_of_decay(both, sizes[0])
        return Hypothesis(tuple(mends), Cause("weight_decay_scope", text, fix=fix))
    plain = _plain(both, "weight_decay", "weight_decay")
    fix = _fix_of_decay(both, sizes[0]) if sizes[0] else ""
    return replace(plain, cause=replace(plain.cause, fix=fix or plain.cause.fix))


def _fix_of_decay(both: Optimizers, size: float) -> str:
    """How the port decays weights as the original does; Keras has a decay within the gradient only
    as a penalty in the loss."""
    a, b, framework = both.first("a"), both.first("b"), both.frameworks[1]
    if framework == "keras" and not a["decoupled"]:
        c = short(size / 2)
        return (
            f"kernel_regularizer=keras.regularizers.L2({c}) in each layer, and the same for its "
            f"bias and other weights"
        )
    if framework == "torch" and a["decoupled"]:
        adam = b["kind"] == "Adam"
        return f"torch.optim.AdamW(..., weight_decay={short(size)})" if adam else ""
    return f"weight_decay={short(size)} in the optimizer"


SHOWN = 3
"""So many tensors are named; the others are counted."""


def _tensors(both: Optimizers, names: Sequence[str]) -> str:
    """Tensors in words, by the port's names of their layers."""
    layers = {pair.a.number: pair.b.name for pair in both.weights.every}
    parts = [layer_and_role(name) for name in names]
    told = [
        layers[number] if role == "weight" else f"the {role} of {layers[number]}"
        for number, role in parts
    ]
    if len(told) > SHOWN:
        told[SHOWN - 1 :] = [f"{len(told) - SHOWN + 1} more"]
    return " and ".join([", ".join(told[:-1]), *told[-1:]]) if len(told) > 1 else "".join(told)


PLACES = {
    "Adam": "adam_epsilon_placement",
    "RMSprop": "rmsprop_epsilon_placement",
    "Adagrad": "adagrad_epsilon_placement",
    "Adamax": "adamax_epsilon_placement",
}


def _of_place(both: Optimizers) -> Hypothesis:
    """Epsilon at another place; its size is a part of that, as it means another thing there."""
    a, b = both.first("a"), both.first("b")
    mends = tuple(
        Mend(None, field, _wanted(both, field))
        for field in ("epsilon_in", "epsilon")
        if _differs(both, field)
    )
    text = (
        f"epsilon {short(b['epsilon'])} in {b['epsilon_in']}, the original's "
        f"{short(a['epsilon'])} in {a['epsilon_in']}"
    )
    name, fix = PLACES[a["kind"]], ""
    if a["kind"] == "Adam" and both.frameworks[1] == "torch":
        fix = (
            f"for group in optimizer.param_groups: group['eps'] = {a['epsilon']:.6g} / "
            f"math.sqrt(1 - {a['beta_2']:.6g}**step)"
        )
    if a["kind"] == "RMSprop" and both.frameworks[1] == "torch" and not a["centered"]:
        rho, epsilon = a["rho"], a["epsilon"]
        fix = (
            f"by hand, in an optimizer of your own: square.mul_({rho:.6g}).addcmul_(gradient, "
            f"gradient, value={1 - rho:.6g}), and rate * gradient / (square + {epsilon:.6g}).sqrt()"
        )
    if a["kind"] == "Adamax" and both.frameworks[1] == "torch":
        fix = (
            f"by hand, in an optimizer of your own: divide by u + {a['epsilon']:.6g}, with u the "
            f"maximum without eps"
        )
    if a["kind"] == "Adagrad" and both.frameworks[1] == "torch":
        start = a["initial_accumulator"] + a["epsilon"]
        fix = f"initial_accumulator_value={start:.10g}, eps=0 in the optimizer: then it is equal"
    return Hypothesis(mends, Cause(name, text, fix=fix))
