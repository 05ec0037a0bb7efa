"""A user's model as it stands in memory, before anything is put through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mnist_mlp.ports.protocol import PortDescription
from mnist_mlp_keras.port.facts import optimizer_settings
from mnist_mlp_keras.port.load import described, leaves_of, loss_name

Shape = tuple[int | None, ...]


def describe(model: Any) -> PortDescription:
    """Its layers, the shapes of what it takes and gives, and the loss it was compiled with."""
    loss = loss_name(model)
    return PortDescription(
        framework="keras",
        layers=tuple(described(layer) for layer in leaves_of(model)),
        inputs=_shapes(model, "input_shape"),
        outputs=_shapes(model, "output_shape"),
        losses=(loss,) if loss else (),
        constraints=tuple(_constraints(model)),
        optimizer=str(optimizer_settings(model).get("kind", "")),
    )


def _constraints(model: Any) -> Iterator[str]:
    for layer in leaves_of(model):
        for part in ("kernel", "bias"):
            constraint = getattr(layer, f"{part}_constraint", None)
            if constraint is not None:
                yield f"{type(constraint).__name__} on the {part} of {layer.name}"


def _shapes(model: Any, name: str) -> tuple[Shape, ...]:
    """Without the batch axis; empty for a model that is not built, or made of its own `call`."""
    try:
        found = getattr(model, name)
    except (AttributeError, TypeError, ValueError, IndexError):
        return ()
    return tuple(shape[1:] for shape in _flat(found))


def _flat(found: Any) -> list[Shape]:
    if isinstance(found, Mapping):
        found = list(found.values())
    if isinstance(found, tuple) and all(n is None or isinstance(n, int) for n in found):
        return [found] if found else []
    return [shape for part in found or () for shape in _flat(part)]
