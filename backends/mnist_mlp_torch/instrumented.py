"""One training step, recorded stage by stage."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mnist_mlp.contract import Array, State, StepRecord
from mnist_mlp.reference import tensor_name
from mnist_mlp_torch.module import Perceptron
from mnist_mlp_torch.optimizers import SLOTS


def instrumented_step(module: Perceptron, state: State, images: Array, labels: Array) -> StepRecord:
    """Set the state, run forward pass, loss, backward pass and update; return every result."""
    module.train()
    module.load_weights(state.weights)
    optimizer = module.configure_optimizers()
    _load_slots(module, optimizer, state)
    rate = module.spec.optimizer.rate_at(state.step + 1)
    for group in optimizer.param_groups:
        group["lr"] = rate

    optimizer.zero_grad()
    x = module.pixels(torch.from_numpy(images))
    y = torch.from_numpy(labels).to(x.device).long()
    layer_inputs: list[Tensor] = []
    layer_outputs: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        layer_inputs.append(inputs[0])
        layer_outputs.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in module.layers]
    loss = functional.cross_entropy(module(x), y)
    for hook in hooks:
        hook.remove()
    loss.backward()
    gradient = module.canonical(lambda parameter: parameter.grad)
    module.clip_gradients_exactly()
    optimizer.step()
    return StepRecord(
        inputs=_array(x),
        pre_activations=tuple(_array(z) for z in layer_outputs),
        # The input of each layer but the first is the activation of the layer before it.
        activations=tuple(_array(a) for a in layer_inputs[1:]),
        loss=float(loss),
        gradient=gradient,
        state=State(
            step=state.step + 1,
            weights=module.weights(),
            slots={slot: _slot(module, optimizer, key=SLOTS[slot]) for slot in state.slots},
        ),
    )


def _load_slots(module: Perceptron, optimizer: torch.optim.Optimizer, state: State) -> None:
    for index, layer in enumerate(module.layers):
        for parameter, part in ((layer.weight, "kernel"), (layer.bias, "bias")):
            for slot, tensors in state.slots.items():
                # A copy, since torch updates it in place.
                copy = np.array(tensors[tensor_name(index, part)].T, order="C")
                value = torch.from_numpy(copy).to(parameter.device)
                optimizer.state[parameter][SLOTS[slot]] = value
                if slot != "velocity":  # Adam needs the number of steps for its bias correction
                    optimizer.state[parameter]["step"] = torch.tensor(float(state.step))


def _slot(module: Perceptron, optimizer: torch.optim.Optimizer, *, key: str) -> dict[str, Array]:
    return module.canonical(lambda parameter: optimizer.state[parameter][key])


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy().copy()
    return array
