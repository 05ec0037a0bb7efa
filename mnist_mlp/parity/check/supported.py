"""What `check` can judge of a model, in one table, and what it says where it cannot.

A model is looked at before it is given any data. What cannot be run is refused at once; what can be
run and only partly be judged is run, and the verdict names what was left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

from mnist_mlp.ports.protocol import PortDescription, PortFacts, PortLayer

Status = Literal["judged", "settings", "refused"]


@dataclass(frozen=True)
class Row:
    """Kinds of one sort; `judged` by their numbers, compared by their `settings`, or `refused`.

    That is against a specification. With an original, `pair` says whether the two frameworks can be
    each other's measure.
    """

    what: str
    status: Status
    kinds: tuple[str, ...]
    pair: bool = False


LAYERS = (
    Row("dense", "judged", ("Dense", "Linear", "LazyLinear", "product")),
    Row(
        "an activation",
        "judged",
        (
            *("Activation", "CELU", "ELU", "GELU", "GLU", "Hard*", "LeakyReLU", "LogSigmoid"),
            *("LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid"),
            *("Softmax", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"),
            "Threshold",
        ),
    ),
    Row(
        "a change of shape or scale",
        "judged",
        (
            *("Flatten", "Identity", "InputLayer", "Lambda", "Normalization", "Permute"),
            *("RepeatVector", "Rescaling", "Reshape", "Unflatten"),
        ),
    ),
    Row("a loss", "judged", ("*Loss", "*Loss2d")),
    Row("empty", "judged", ("Module*", "Parameter*", "Sequential")),
    Row("dropout", "settings", ("Dropout", "dropout"), pair=True),
    Row(
        "batch normalisation",
        "settings",
        ("BatchNormalization", "*BatchNorm1d", "batch_norm"),
        pair=True,
    ),
    Row(
        "layer normalisation",
        "settings",
        ("LayerNormalization", "LayerNorm", "layer_norm"),
        pair=True,
    ),
    Row(
        "dropout of whole maps",
        "refused",
        ("SpatialDropout?D", "Dropout?d", "dropout?d"),
        pair=True,
    ),
    Row("noise", "refused", ("AlphaDropout", "Gaussian*", "alpha_dropout"), pair=True),
    Row("another dropout", "refused", ("*Dropout*", "*dropout*")),
    Row("noise", "refused", ("Random*", "RReLU")),
    Row(
        "another normalisation",
        "refused",
        (
            *("BatchNorm?d", "GroupNorm*", "group_norm", "InstanceNorm?d", "RMSNorm*"),
            *("UnitNormalization", "LocalResponseNorm", "normalize"),
        ),
        pair=True,
    ),
    Row("another normalisation", "refused", ("*Norm*", "*norm", "normalize")),
    Row("a convolution", "refused", ("ConvLSTM*", "*Fold", "*fold")),
    Row("a convolution", "refused", ("*Conv*", "conv*"), pair=True),
    Row("pooling", "refused", ("*Pool*", "*pool*"), pair=True),
    Row("an embedding", "refused", ("Embedding", "embedding"), pair=True),
    Row("an embedding", "refused", ("Embedding*", "embedding*")),
    Row("recurrent", "refused", ("LSTM", "GRU", "SimpleRNN", "RNN", "*Cell"), pair=True),
    Row("recurrent", "refused", ("*GRU*", "*LSTM*", "*RNN*", "Bidirectional")),
    Row("a layer at each step", "refused", ("TimeDistributed",), pair=True),
    Row("attention", "refused", ("EinsumDense", "MultiheadAttention", "MultiHeadAttention",
                                 "NonDynamicallyQuantizableLinear",
                                 "scaled_dot_product_attention", "Attention",
                                 "AdditiveAttention"), pair=True),
    Row("attention", "refused", ("*Attention*", "*attention*", "Transformer*")),
    Row("merging", "refused", ("Add", "Average", "Bilinear", "Concatenate", "CosineSimilarity",
                               "Dot", "Maximum", "Minimum", "Multiply", "PairwiseDistance",
                               "Subtract"), pair=True),
    Row("resizing", "refused", ("*Padding*", "*Pad?d", "Cropping*", "UpSampling*", "Upsample*",
                                "Resizing", "Pixel*", "interpolate"), pair=True),
)  # fmt: skip
"""Kinds of layers and of functions that do their work; the first row that fits counts. A kind of
the framework's that is in no row is refused, a user's own class is judged by its numbers."""

LOSSES = (
    Row(
        "cross-entropy over classes",
        "judged",
        (
            *("*categorical_crossentropy", "*CategoricalCrossentropy", "cross_entropy"),
            *("nll_loss", "CrossEntropyLoss", "NLLLoss"),
        ),
    ),
    Row(
        "told from cross-entropy",
        "judged",
        (
            *("mse", "mean_squared_error", "MeanSquaredError", "mse_loss", "MSELoss"),
            *("binary_cross*", "BinaryCross*", "BCE*"),
        ),
    ),
    Row(
        "a loss of something else",
        "refused",
        (
            *("mae", "mean_absolute*", "MeanAbsolute*", "mape", "msle", "mean_squared_log*"),
            *("MeanSquaredLog*", "huber*", "Huber*", "log_cosh", "LogCosh", "poisson*", "Poisson*"),
            *("kl*", "KL*", "cosine*", "Cosine*", "*hinge*", "*Hinge*", "l1*", "L1*", "smooth_l1*"),
            *("SmoothL1*", "ctc*", "CTC*", "gaussian*", "Gaussian*", "margin*", "multi*", "Multi*"),
            *("soft_margin*", "SoftMargin*", "triplet*", "Triplet*", "dice", "Dice", "tversky"),
            "Tversky",
        ),
    ),
)
"""Losses by name. A function of the user's own is judged by its numbers."""

OPTIMIZERS = (
    Row("SGD", "judged", ("SGD",)),
    Row("Adam", "judged", ("Adam", "AdamW")),
)
"""Optimizers by the framework's class; any other is run, and its update is not judged."""


def _row(table: Sequence[Row], kind: str) -> Row | None:
    return next((r for r in table if any(fnmatchcase(kind, k) for k in r.kinds)), None)


def family(layer: PortLayer) -> str:
    """What sort of layer it is; empty for one that the table does not know."""
    row = _row(LAYERS, layer.kind)
    return row.what if row else ""


def status(layer: PortLayer) -> Status:
    """Of a layer. A dense one is judged whatever its class, a dropout of rate 0 does nothing."""
    if layer.dense or not layer.native or layer.settings.get("rate") == 0:
        return "judged"
    row = _row(LAYERS, layer.kind)
    return row.status if row else "refused"


def compared_by_settings(layers: Iterable[PortLayer]) -> list[PortLayer]:
    """Layers that do something to the numbers that nobody can replay yet."""
    return [layer for layer in layers if status(layer) == "settings"]


def kinds_passed_by(layers: Iterable[PortLayer]) -> tuple[str, ...]:
    """Their kinds, which are passed by when activations are read."""
    return tuple(dict.fromkeys(layer.kind for layer in compared_by_settings(layers)))


def named(layer: PortLayer) -> str:
    """`Dropout drop (rate 0.5)`."""
    text = ", ".join(f"{key} {value:.6g}" for key, value in layer.settings.items())
    return f"{layer.kind} {layer.name}" + (f" ({text})" if text else "")


# --- Refusals -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needs:
    """What the data demand of a model: the numbers of one input, and how many classes there are."""

    features: int
    classes: int


def refusal(described: PortDescription, needs: Needs, *, label: str) -> str | None:
    """Why an original cannot be the measure of anything, with what can; None where it can."""
    reasons = [*_inputs(described, needs), *_rest(described, needs)]
    return _message(label, needs, [*reasons, *_beside(described)] if reasons else [])


def refusal_of_port(described: PortDescription, needs: Needs, *, label: str) -> str | None:
    """Why a port cannot even be run; with other layers it can be, and is another model."""
    inputs = list(_inputs(described, needs))
    return _message(label, needs, [*inputs, *_rest(described, needs)] if inputs else [])


def after_a_failure(described: PortDescription, needs: Needs, *, label: str) -> str | None:
    """Why a model may have failed on its first batch; None where nothing of it is unusual."""
    return refusal(described, needs, label=label)


def refusal_of_layers(facts: PortFacts, needs: Needs, *, label: str) -> str | None:
    """Of an original that was run: layers that no module shows, only the call of a function."""
    return _message(label, needs, list(_layers(facts.layers)))


Reason = tuple[str, str]
"""What is not supported, and what can be done."""


def _rest(described: PortDescription, needs: Needs) -> list[Reason]:
    """All but the inputs; outputs are named with their loss."""
    outputs = list(_outputs(described, needs))
    losses = [] if outputs else _losses(described)
    return [*_layers(described.layers), *outputs, *losses, *_constraints(described)]


def _beside(described: PortDescription) -> list[Reason]:
    """What would be run, and is not judged: worth a word where the rest is refused."""
    kinds = dict.fromkeys(layer.kind for layer in compared_by_settings(described.layers))
    return [(f"{', '.join(kinds)} would not be judged either", "")] if kinds else []


def _message(label: str, needs: Needs, reasons: Sequence[Reason]) -> str | None:
    if not reasons:
        return None
    text = "; ".join(what for what, _ in reasons)
    return (
        f"{label} cannot be judged: {text}.\n"
        f"What can be: dense layers and activations from one input of {needs.features} numbers to "
        f"{needs.classes} classes, under cross-entropy.\n"
        f"{reasons[0][1]}"
    )


def _inputs(described: PortDescription, needs: Needs) -> Iterator[Reason]:
    if len(described.inputs) > 1:
        yield (
            f"it has {len(described.inputs)} inputs",
            "Give check the dense part behind them, with one input, in both files.",
        )
        return
    for shape in described.inputs:
        if None not in shape and prod(n or 1 for n in shape) != needs.features:
            yield _other_input("x".join(map(str, shape)), needs)
    dense = [layer for layer in described.layers if layer.dense]
    if described.inputs or not _nothing_but(described, dense):
        return
    sizes = [layer.inputs for layer in dense if layer.inputs is not None]
    if len(sizes) == len(dense) and sizes and needs.features not in sizes:
        yield _other_input(f"{sizes[0]} ({named(dense[0])})", needs)


def _nothing_but(described: PortDescription, dense: Sequence[PortLayer]) -> bool:
    """Whether nothing but dense layers, by what is known, makes another number of numbers."""
    others = [layer for layer in described.layers if layer not in dense]
    return all(
        layer.native and status(layer) != "refused" and family(layer) != "dense" for layer in others
    )


def _other_input(text: str, needs: Needs) -> Reason:
    return (
        f"its input is {text} numbers, the data set's rows have {needs.features}",
        f"Other data cannot be judged yet: give check the model with an input of "
        f"{needs.features}, in both files.",
    )


def _layers(layers: Iterable[PortLayer]) -> Iterator[Reason]:
    refused = [layer for layer in layers if status(layer) == "refused"]
    if not refused:
        return
    first = {layer.kind: layer for layer in reversed(refused)}
    text = ", ".join(
        f"{kind} {first[kind].name}" + (f" ({family(first[kind])})" if family(first[kind]) else "")
        for kind in dict.fromkeys(layer.kind for layer in refused)
    )
    kinds = ", ".join(dict.fromkeys(layer.kind for layer in refused))
    yield (
        f"it has {text}",
        f"Give check the part without {kinds} as a model of its own, in both files.",
    )


def _outputs(described: PortDescription, needs: Needs) -> Iterator[Reason]:
    do = f"Give check a model that ends in one score for each of the {needs.classes} classes."
    loss = f" (loss {', '.join(described.losses)})" if described.losses else ""
    if len(described.outputs) > 1:
        yield f"it has {len(described.outputs)} outputs{loss}", do
        return
    for shape in described.outputs:
        if len(shape) != 1 or shape[0] not in (None, needs.classes):
            text = "x".join("?" if n is None else str(n) for n in shape)
            as_input = ", as its input," if shape in described.inputs else ""
            text = f"its output{as_input} is {text} number{'s' * (text != '1')}{loss}"
            yield f"{text}, the data have {needs.classes} classes", do
    dense = [layer for layer in described.layers if layer.dense]
    if described.outputs or not dense or not _nothing_but(described, dense):
        return
    if needs.classes not in [layer.units for layer in dense]:
        text = f"no dense layer has {needs.classes} outputs, one for each class{loss}"
        yield f"{text}: the last has {dense[-1].units} ({named(dense[-1])})", do


def _losses(described: PortDescription) -> Iterator[Reason]:
    refused = [name for name in described.losses if not _loss_is_judged(name)]
    # Code may name a loss that it does not minimise.
    if refused and len(refused) == len(described.losses):
        yield (
            f"its loss is {', '.join(refused)}",
            "Compile or train both with a cross-entropy to judge everything else of them.",
        )


def _constraints(described: PortDescription) -> Iterator[Reason]:
    if described.constraints:
        yield (
            f"it has a weight constraint, {', '.join(described.constraints)}, which changes the "
            f"weights after every update",
            "Give check both models without the constraint to judge everything else of them.",
        )


def _loss_is_judged(name: str) -> bool:
    row = _row(LOSSES, name)
    return row is None or row.status == "judged"


# --- With an original: the two frameworks as each other's measure ---------------------------------


def needs_a_pair(original: PortDescription, needs: Needs) -> bool:
    """Whether an original is more than a dense network under cross-entropy, by SGD or Adam."""
    return bool(
        refusal(original, needs, label="")
        or compared_by_settings(original.layers)
        or (original.optimizer and _row(OPTIMIZERS, original.optimizer) is None)
    )


def refusal_of_pair(original: PortDescription, *, label: str) -> str | None:
    """Why an original cannot be the measure of a port, with what can; None where it can."""
    reasons = []
    unknown = [layer for layer in original.layers if not _has_a_pair(layer)]
    if unknown:
        first = {layer.kind: layer for layer in reversed(unknown)}
        names = [f"{named(x)} ({family(x) or 'not known'})" for x in reversed(first.values())]
        reasons.append(f"it has {', '.join(names)}")
    if not reasons:
        return None
    kinds = ", ".join(dict.fromkeys(layer.kind for layer in original.layers))
    losses = f", under {', '.join(original.losses)}" if original.losses else ""
    return (
        f"{label} cannot be judged: {'; '.join(reasons)}.\n"
        f"What can be: any inputs and outputs, dense layers, convolutions, embeddings, "
        f"recurrent layers, attention of several heads, pooling, normalisation, dropout, noise, "
        f"activations, merging and resizing. "
        f"It is made of {kinds}{losses}."
        f"\nGive check the part without the others as a model of its own, in both files."
    )


def _has_a_pair(layer: PortLayer) -> bool:
    if status(layer) == "judged":
        return True
    row = _row(LAYERS, layer.kind)
    return row is not None and row.pair


# --- Run, but partly not judged -------------------------------------------------------------------


def not_judged(facts: PortFacts, *, original: bool) -> tuple[str, ...]:
    """What no rung can judge, in words.

    A port's optimizer is judged by what it does; an original's has to be known by its name.
    """
    if not original or optimizer_is_judged(facts):
        return facts.not_judged
    judged = " and ".join(row.what for row in OPTIMIZERS)
    return (
        *facts.not_judged,
        f"the optimizer {optimizer_of(facts)}: only updates by {judged} are judged",
    )


def optimizer_is_judged(facts: PortFacts) -> bool:
    """Whether its updates can be replayed; one of a user's own is judged by what it does."""
    kind = facts.optimizer.get("kind")
    return not kind or _row(OPTIMIZERS, str(kind)) is not None


def optimizer_of(facts: PortFacts) -> str:
    """`RMSprop (learning rate 0.001)`."""
    rate = facts.optimizer.get("learning_rate")
    settings = f" (learning rate {rate:.6g})" if isinstance(rate, int | float) else ""
    return f"{facts.optimizer.get('name', 'none')}{settings}"


def remarks(facts: PortFacts) -> tuple[str, ...]:
    """What a specification read off a model cannot say of it, beside its layers."""
    text = []
    settings = facts.optimizer
    if settings and not settings.get("kind"):
        text.append(f"the optimizer {settings.get('name')} is a class of its own, read as SGD")
    if isinstance(settings.get("schedule"), str):
        text.append(
            f"the learning rate follows {settings['schedule']}, which changes too often for a "
            f"specification: its first rate was taken"
        )
    if facts.hidden and "random" in facts.hidden:
        text.append("a training step draws random numbers outside of the layers that can be seen")
    if facts.loss and not _loss_is_judged(facts.loss):
        text.append(f"the loss {facts.loss}: a specification has cross-entropy alone")
    return tuple(text)
