"""Attention of Keras: its projections are dense layers, and what is between them is observed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.attention import mask_name
from mnist_mlp.reference import Array
from mnist_mlp_keras.port.load import is_native
from mnist_mlp_keras.port.state import number

INTO_HEADS = "abc,cde->abde"
OUT_OF_HEADS = "abcd,cde->abe"

_BIASES = {INTO_HEADS: (None, "de"), OUT_OF_HEADS: (None, "e")}


def is_projection(layer: Any) -> bool:
    """Whether it is a dense layer whose features are given or taken in heads."""
    return (
        type(layer).__name__ == "EinsumDense"
        and is_native(layer)
        and layer.bias_axes in _BIASES.get(layer.equation, ())
    )


def as_dense(layer: Any, role: str, value: Array) -> Array:
    """A projection's kernel (inputs, units) and bias (units,)."""
    if role == "bias":
        return value.reshape(-1)
    first = 1 if layer.equation == INTO_HEADS else 2
    return value.reshape(int(np.prod(value.shape[:first])), -1)


def attentions_of(model: Any) -> list[Any]:
    """Keras's own layers of several heads; subclasses may attend otherwise."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if type(layer).__name__ == "MultiHeadAttention" and is_native(layer)
    ]


def softmaxes_of(model: Any) -> set[int]:
    """Their ids: each is a part of an attention."""
    return {id(layer._softmax) for layer in attentions_of(model) if layer.built}


Noted = Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]


@contextmanager
def watching(model: Any, note: Noted) -> Iterator[None]:
    """Show each attention with its settings, while this lasts; `note` answers with experiments."""
    found = attentions_of(model)
    for layer in found:
        layer._compute_attention = _attending(layer, note)
    try:
        yield
    finally:
        for layer in found:
            del layer._compute_attention


def _attending(layer: Any, note: Noted) -> Callable[..., Any]:
    own = layer._compute_attention

    def attend(
        query: Any, key: Any, value: Any, attention_mask: Any = None, *args: Any, **options: Any
    ) -> Any:
        steps = query.shape[1], key.shape[1]
        causal = bool(options.get("use_causal_mask")) and attention_mask is None
        allowed = np.tril(np.ones(steps, bool)) if causal else None
        if attention_mask is not None:
            allowed = np.broadcast_to(
                number(attention_mask).astype(bool), (*attention_mask.shape[:-2], *steps)
            )
        settings = {
            "heads": int(query.shape[2]),
            "scale": float(layer._inverse_sqrt_key_dim),
            "mask": mask_name(allowed),
        }
        fields = note(layer, settings)
        if "mask" in fields:
            options.pop("use_causal_mask", None)
            attention_mask = _instead(fields["mask"], allowed, steps)
        heads, before = fields.get("heads"), layer._inverse_sqrt_key_dim
        layer._inverse_sqrt_key_dim = fields.get("scale", before)
        shape = query.shape
        if heads is not None:
            query, key, value = (_regrouped(x, heads) for x in (query, key, value))
        try:
            result, scores = own(query, key, value, attention_mask, *args, **options)
        finally:
            layer._inverse_sqrt_key_dim = before
        return (result if heads is None else _regrouped(result, shape[2])), scores

    return attend


def _regrouped(x: Any, heads: int) -> Any:
    """(n, steps, heads, size) with the same features in another number of heads."""
    return keras.ops.reshape(x, (x.shape[0], x.shape[1], heads, -1))


def _instead(name: str, allowed: Array | None, steps: tuple[int, int]) -> Any:
    if name == "causal":
        return keras.ops.convert_to_tensor(np.tril(np.ones((1, *steps), bool)))
    if name == "inverted" and allowed is not None:
        return keras.ops.convert_to_tensor(~(allowed[None] if allowed.ndim == 2 else allowed))
    return None
