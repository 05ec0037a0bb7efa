"""Experiments on a torch module: one call does otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from mnist_mlp.ports.pair import Mend
from mnist_mlp_torch.port.pair_layers import (
    EMBEDDING,
    LOSSES,
    NOISE,
    RECURRENT,
    Call,
    activation,
    padded,
    pool,
    settings_of,
    upsample,
)
from mnist_mlp_torch.port.pair_losses import with_class_weights
from mnist_mlp_torch.port.pair_noise import instead as other_noise
from mnist_mlp_torch.port.pair_noise import laid_on
from mnist_mlp_torch.port.pair_recurrent import Sequences, first_of, strand

ELSEWHERE = {
    "after",
    "before",
    "population_variance",
    "trained",
    "reads",
    "penalty",
    "frozen",
    "constraint",
    "added",
    "term",
    "attached",
}
"""What is not done within the call itself."""

POOLS = ("max_pool", "average_pool")
DROPOUTS = ("dropout", "spatial_dropout", "alpha_dropout")

OwnWay = Callable[..., Tensor]
"""What the call does as it stands, with its own arguments or some of them replaced."""


def performed(call: Call, own: OwnWay, mends: Sequence[Mend], sequences: Sequences) -> Any:
    """The call with its experiments in effect."""
    fields = {mend.field: mend.value for mend in mends}
    if call.name in RECURRENT:
        return strand(call, own, fields, sequences)
    before = _variance_before(call) if "population_variance" in fields else None
    result = call.input if "skip" in fields else _instead(call, own, fields)
    if before is not None:
        fresh = 1.0 - fields["momentum"] if "momentum" in fields else call.arguments["momentum"]
        _as_population(call, before, share=fresh)
    return result


def preceded(call: Call, own: OwnWay, mends: Sequence[Mend]) -> tuple[Call, OwnWay]:
    """A call with work in front of it that an experiment adds."""
    for mend in mends:
        if mend.field == "before":
            kind, settings = mend.value
            given = work(kind, call.input, settings, features_last=call.kind in SEQUENCES)
            call = replace(call, arguments={**call.arguments, "input": given})
            own = partial(own, input=given)
    return call, own


def followed(call: Call, result: Any, mends: Sequence[Mend]) -> Any:
    """What a call gave, with work behind it that an experiment adds; states stay as they are."""
    for mend in mends:
        if mend.field == "after":
            kind, settings = mend.value
            given = work(kind, first_of(result), settings, features_last=call.kind in SEQUENCES)
            result = (given, *result[1:]) if isinstance(result, tuple) else given
    return result


SEQUENCES = ("embedding", "lstm", "gru", "rnn")
"""What gives its features last, where images have them first."""


def work(
    kind: str, x: Tensor, settings: Mapping[str, Any], *, features_last: bool = False
) -> Tensor:
    """A layer without weights, by shared name and settings."""
    if kind in POOLS:
        return pool(kind, x, settings)
    if kind == "upsample":
        return upsample(x, settings)
    if kind == "dropout":
        return F.dropout(x, settings["rate"], training=True)
    if kind == "spatial_dropout" and features_last:
        ones = torch.ones_like(x[:, :1] if x.dim() > 2 else x)
        return x * F.dropout(ones, settings["rate"], training=True)
    if kind == "spatial_dropout":
        return torch.feature_dropout(x, settings["rate"], train=True)
    if kind == "alpha_dropout":
        return F.alpha_dropout(x, settings["rate"], training=True)
    if kind in NOISE:
        return laid_on(kind, x, settings)
    return activation(kind, x, settings)


def _instead(call: Call, own: OwnWay, fields: Mapping[str, Any]) -> Tensor:
    if call.name in NOISE and (set(fields) & {"stddev", "rate"} or _is_noise(fields)):
        return other_noise(call, fields)
    settings = {**(settings_of(call) if call.name not in NOISE else {}), **fields}
    kind, given = call.kind, call.arguments
    if not set(fields) - ELSEWHERE:
        return own()
    if kind == "conv":
        arguments = {
            "input": padded(call.input, settings["pads"]), "padding": 0,
            "stride": settings["stride"], "dilation": settings["dilation"],
            "groups": settings["groups"],
        }  # fmt: skip
        return own(**arguments)
    if kind == "conv_transpose":
        return _cropped(call, own, settings)
    if kind in ("batch_norm", "layer_norm", "group_norm"):
        return _normalised(call, own, fields, settings["epsilon"])
    if kind == "embedding":
        return own(**{EMBEDDING[name]: v for name, v in fields.items() if name in EMBEDDING})
    if kind == "attention":
        return own(**fields)
    if kind in LOSSES:
        return _loss(call, own, fields)
    chosen = fields.get("kind", (kind, settings))
    if kind in DROPOUTS and "rate" in fields:
        return own(p=fields["rate"], training=True)
    return work(chosen[0], given["input"], chosen[1])


def _normalised(call: Call, own: OwnWay, fields: Mapping[str, Any], epsilon: float) -> Tensor:
    if "groups" in fields and call.name == "instance_norm":
        scale, offset = call.arguments.get("weight"), call.arguments.get("bias")
        return F.group_norm(call.input, fields["groups"], scale, offset, epsilon)
    arguments: dict[str, Any] = {"eps": epsilon}
    if "training" in fields:
        arguments["training"] = fields["training"]
    if "momentum" in fields:
        arguments["momentum"] = 1.0 - fields["momentum"]
    if "groups" in fields:
        arguments["num_groups"] = fields["groups"]
    return own(**arguments)


def _is_noise(fields: Mapping[str, Any]) -> bool:
    return "kind" in fields and fields["kind"][0] in NOISE


def _cropped(call: Call, own: OwnWay, settings: Mapping[str, Any]) -> Tensor:
    """A transposed convolution whose whole result is cropped, or goes on as if by zeros."""
    bias = call.arguments.get("bias")
    whole = own(
        bias=None, padding=0, output_padding=0,
        **{name: settings[name] for name in ("stride", "dilation", "groups")},
    )  # fmt: skip
    crops = [-n for pair in reversed(settings["crops"]) for n in pair]
    cropped = F.pad(whole, crops)
    if bias is None:
        return cropped
    return cropped + bias.reshape(-1, *[1] * (whole.dim() - 2))


def _loss(call: Call, own: OwnWay, fields: Mapping[str, Any]) -> Tensor:
    if "kind" in fields:
        return _other_loss(fields["kind"][0], call)
    if "class_weights" in fields:
        return with_class_weights(call, own, fields["class_weights"])
    names = {"reduction": "reduction", "smoothing": "label_smoothing", "delta": "delta"}
    arguments = {names[field]: value for field, value in fields.items() if field in names}
    if "aligned" in fields:
        target = call.arguments["target"]
        arguments["target"] = target.reshape(call.input.shape)
    if "logits" in fields:  # the softmax before it is undone
        arguments["input"] = call.input.log()
    return own(**arguments)


def _other_loss(kind: str, call: Call) -> Tensor:
    x, target = call.input, call.arguments["target"]
    if kind in ("cross_entropy", "nll_loss") and not target.is_floating_point():
        entropy: Tensor = getattr(F, kind)(x, target)
        return entropy
    if target.numel() != x.numel() and not target.is_floating_point():
        target = F.one_hot(target, x.shape[-1])
    made: Tensor = getattr(F, kind)(x, target.to(x.dtype).reshape(x.shape))
    return made


def _variance_before(call: Call) -> Tensor | None:
    kept = call.arguments.get("running_var")
    return None if kept is None else kept.detach().clone()


def _as_population(call: Call, before: Tensor, *, share: float) -> None:
    """Let the running variance take a share of the population variance in, as Keras does."""
    x = call.input.detach()
    n = x.numel() // x.shape[1]
    kept = call.arguments["running_var"]
    fresh = (kept - (1 - share) * before) * ((n - 1) / n)
    # By `data`: the backward pass keeps the buffer, and refuses one that was changed since.
    kept.data.copy_((1 - share) * before + fresh)
