"""Attention of torch: a call is taken apart into its projections, which are dense layers, and what
is between them.

One parameter may hold the weights of three projections. Each part has a path of its own, that of
the parameter with a number behind it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from mnist_mlp.ports.attention import SETTINGS, mask_name
from mnist_mlp.ports.pair import Mend
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.pair_layers import Call

PARTS = 3
"""Query, key and value."""

NAME = "scaled_dot_product_attention"


class Observer(Protocol):
    """Whoever is shown the calls."""

    paths: dict[int, str]
    kept: list[Any]

    @property
    def mends(self) -> Mapping[int, Sequence[Mend]]:
        """Experiments by number of the layer."""
        ...

    @property
    def here(self) -> int:
        """The number that the next call gets."""
        ...

    def called(self, call: Call, own: Callable[..., Any]) -> Any:
        """One call: done, perhaps otherwise, and noted."""
        ...


def whole(path: str) -> str:
    """The path of the parameter that a part is of."""
    return path.partition("[")[0]


def part_of(path: str, tensor: Any) -> Any:
    """What stands under a path, of the whole parameter; changes of it change that."""
    _, _, number = path.partition("[")
    return tensor.chunk(PARTS)[int(number[:-1])] if number else tensor


def attended(observer: Observer, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
    """A call of either function, shown to an observer."""
    if func is F.multi_head_attention_forward:
        return _multi_head(observer, func, args, given)
    return _plain(observer, func, args, given)


def _plain(observer: Observer, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
    """`scaled_dot_product_attention`, of (n, heads, steps, size) or (n, steps, size)."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    known: dict[str, Any] = {**dict(zip(names, args, strict=False)), **given}
    q, k, v = (known[name] for name in names[:3])
    if known.get("dropout_p") or known.get("enable_gqa") or q.dim() not in (3, 4):
        return func(*args, **given)
    single = q.dim() == 3
    if single:
        q, k, v = (x[:, None] for x in (q, k, v))
    mask = known.get("attn_mask")
    allowed, added = (mask, None) if _is_boolean(mask) else _of_numbers(mask)
    if single and isinstance(allowed, Tensor) and allowed.dim() == 3:
        allowed = allowed[:, None]
    if known.get("is_causal"):
        allowed = _lower(q, k)
    scale = known.get("scale")
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)

    def own(**fields: Any) -> Tensor:
        if not fields.keys() & set(SETTINGS):
            made: Tensor = func(*args, **given)
            return made
        result = _by_formula(q, k, v, scale, allowed, added, fields)
        return result[:, 0] if single else result

    return observer.called(_call(q, k, scale, allowed, added), own)


def _multi_head(
    observer: Observer, func: Any, args: Sequence[Any], given: Mapping[str, Any]
) -> Any:
    """`multi_head_attention_forward`, whose queries are (steps, n, size)."""
    bound = inspect.signature(func).bind(*args, **given)
    bound.apply_defaults()
    known = bound.arguments
    dropped = known["dropout_p"] if known["training"] else 0.0
    other = ("bias_k", "bias_v", "static_k", "static_v")
    if any(known[name] is not None for name in other) or (
        known["add_zero_attn"] or dropped or known["query"].dim() != 3
    ):
        return func(*args, **given)
    experiments = observer.mends.get(observer.here + PARTS, ())
    first = any(mend.field == "batch_first" for mend in experiments)

    def turned(x: Tensor) -> Tensor:
        return x if first else x.transpose(0, 1)

    names = ("query", "key", "value")
    q, k, v = (
        _dense(observer, turned(known[name]), weight, bias, name)
        for name, weight, bias in zip(names, *_projections(observer, known), strict=True)
    )
    heads = known["num_heads"]
    allowed, added = _mask_of(known, len(q), heads)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scale = q.shape[-1] ** -0.5

    def own(**fields: Any) -> Tensor:
        # A mask that was meant for the other axis as the batch does not fit.
        return _by_formula(q, k, v, scale, allowed, added, fields)

    call = _call(q, k, scale, allowed, added, steps_first=True)
    result = observer.called(call, own).transpose(1, 2).flatten(2)
    weight, bias = known["out_proj_weight"], known["out_proj_bias"]
    result = turned(_dense(observer, result, weight, bias, "out_proj"))
    if not known["need_weights"]:
        return result, None
    shares = _shares(q, k, scale, allowed, added)
    return result, shares.mean(dim=1) if known["average_attn_weights"] else shares


def _projections(
    observer: Observer, known: Mapping[str, Any]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Weights and biases of query, key and value."""
    weights = [known[f"{name}_proj_weight"] for name in "qkv"]
    if not known["use_separate_proj_weight"]:
        weights = _parts(observer, known["in_proj_weight"])
    bias = known["in_proj_bias"]
    return weights, [None] * PARTS if bias is None else _parts(observer, bias)


def _parts(observer: Observer, tensor: Tensor) -> list[Tensor]:
    parts = list(tensor.chunk(PARTS))
    path = observer.paths.get(id(tensor))
    if path is not None:
        observer.kept.append(parts)  # so that their ids stay their own
        for number, part in enumerate(parts):
            observer.paths[id(part)] = f"{path}[{number}]"
    return parts


def _dense(
    observer: Observer, x: Tensor, weight: Tensor, bias: Tensor | None, label: str
) -> Tensor:
    arguments = {"input": x, "weight": weight, "bias": bias}

    def own(**instead: Any) -> Tensor:
        return F.linear(**{**arguments, **instead})

    made: Tensor = observer.called(Call("linear", arguments, label), own)
    return made


def _call(
    q: Tensor,
    k: Tensor,
    scale: float,
    allowed: Tensor | None,
    added: Tensor | None,
    **settings: Any,
) -> Call:
    shown = None
    if allowed is not None:
        shown = to_array(allowed.expand(*allowed.shape[:-2], q.shape[-2], k.shape[-2]))
    settings |= {
        "heads": int(q.shape[1]),
        "scale": float(scale),
        "mask": mask_name(shown) if added is None else "numbers that are added",
    }
    return Call(NAME, {"input": q, "settings": settings}, "attention")


# --- Masks ----------------------------------------------------------------------------------------


def _is_boolean(mask: Any) -> bool:
    return isinstance(mask, Tensor) and mask.dtype is torch.bool


def _of_numbers(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask of numbers that are added: where a query may look, or else the numbers."""
    if mask is None:
        return None, None
    away = mask == -torch.inf
    return (~away, None) if bool((away | (mask == 0)).all()) else (None, mask)


def _lower(q: Tensor, k: Tensor) -> Tensor:
    ones = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)
    return ones.tril()


def _mask_of(
    known: Mapping[str, Any], rows: int, heads: int
) -> tuple[Tensor | None, Tensor | None]:
    """Of a call of several heads: true is where its boolean masks are false."""
    allowed, added = None, None
    mask = known["attn_mask"]
    if mask is not None:
        allowed, added = (~mask, None) if _is_boolean(mask) else _of_numbers(mask)
        if mask.dim() == 3:  # (rows * heads, steps, steps)
            allowed, added = (
                None if x is None else x.unflatten(0, (-1, heads)) for x in (allowed, added)
            )
    padding = known["key_padding_mask"]
    if padding is not None:
        here, numbers = (~padding, None) if _is_boolean(padding) else _of_numbers(padding)
        if numbers is not None:
            added = numbers[:, None, None] if added is None else added + numbers[:, None, None]
        if here is not None:
            here = here[:, None, None]
            allowed = here if allowed is None else allowed & here
    return allowed, added


# --- The formula ----------------------------------------------------------------------------------


def _shares(
    q: Tensor, k: Tensor, scale: float, allowed: Tensor | None, added: Tensor | None
) -> Tensor:
    scores = q @ k.transpose(-2, -1) * scale
    if added is not None:
        scores = scores + added
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, dim=-1)


def _by_formula(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    allowed: Tensor | None,
    added: Tensor | None,
    fields: Mapping[str, Any],
) -> Tensor:
    """The attention (n, heads, steps, size), with experiments in effect."""
    match fields.get("mask"):
        case "none":
            allowed = None
        case "causal":
            allowed = _lower(q, k)
        case "inverted":
            allowed = None if allowed is None else ~allowed
    heads, own = fields.get("heads", q.shape[1]), q.shape[1]
    if heads != own:
        q, k, v = (_regrouped(x, heads) for x in (q, k, v))
    result = _shares(q, k, fields.get("scale", scale), allowed, added) @ v
    return result if heads == own else _regrouped(result, own)


def _regrouped(x: Tensor, heads: int) -> Tensor:
    """(n, heads, steps, size) with the same features in another number of heads."""
    return x.transpose(1, 2).flatten(2).unflatten(-1, (heads, -1)).transpose(1, 2)
