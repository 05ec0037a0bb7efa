"""A user's model as it stands in memory, before anything is put through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import keras

from mnist_mlp.ports.protocol import PortDescription
from mnist_mlp_keras.port.facts import optimizer_settings
from mnist_mlp_keras.port.load import described, leaves_of, loss_names, losses_of_outputs
from mnist_mlp_keras.port.pair_recurrent import at_each_step, works_on_all_steps

Shape = tuple[int | None, ...]


def describe(model: Any) -> PortDescription:
    """Its layers, and wrappers that call another than a dense one at each step of a sequence; the
    shapes of what it takes and gives, and the loss it was compiled with."""
    leaves = leaves_of(model)
    others = [layer for layer in at_each_step(model) if not works_on_all_steps(layer)]
    inputs = _shapes(model, "input_shape")
    known = getattr(model, "inputs", None) or []
    words = tuple(map(partial(_vocabulary, model), known))
    structure = getattr(model, "input_shape", None) if inputs else None
    names = tuple(sorted(structure)) if isinstance(structure, Mapping) else ()
    outputs = _shapes(model, "output_shape")
    graph = getattr(model, "_functional", None) or model
    given = getattr(graph, "_outputs_struct", None)  # the shapes stand in a list even so
    output_names = tuple(sorted(given)) if isinstance(given, Mapping) else ()
    return PortDescription(
        framework="keras",
        layers=tuple(described(layer) for layer in (*leaves, *others)),
        inputs=inputs,
        outputs=outputs,
        losses=tuple(dict.fromkeys(loss_names(model))),
        constraints=tuple(_constraints(model)),
        optimizer=str(optimizer_settings(model).get("kind", "")),
        input_names=names,
        output_names=output_names,
        output_losses=losses_of_outputs(model, output_names, len(outputs)),
        vocabularies=words if len(words) == len(inputs) else (),
    )


def _vocabulary(model: Any, tensor: Any) -> int:
    """The fewest words of an embedding that gets an input as it is, or as reshaped; 0 for none."""
    reached, found = {id(tensor)}, []
    graph = getattr(model, "_functional", None) or model
    for operation in getattr(graph, "operations", ()):
        for node in operation._inbound_nodes:
            if reached.isdisjoint(map(id, node.input_tensors)):
                continue
            if isinstance(operation, keras.layers.Embedding):
                found.append(int(operation.input_dim))
            elif not getattr(operation, "weights", ()):
                reached |= set(map(id, node.output_tensors))
    return min(found, default=0)


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
        found = [found[name] for name in sorted(found)]
    if isinstance(found, tuple) and all(n is None or isinstance(n, int) for n in found):
        return [found] if found else []
    return [shape for part in found or () for shape in _flat(part)]
