"""One training step, recorded stage by stage."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnist_mlp.contract import Array, State, StepRecord
from mnist_mlp_torch.module import Perceptron
from mnist_mlp_torch.optimizers import make_optimizer


def instrumented_step(module: Perceptron, state: State, images: Array, labels: Array) -> StepRecord:
    """Set the state, run forward pass, loss, backward pass and update; return every result."""
    module.train()
    module.load_weights(state.weights)
    optimizer = make_optimizer(module.spec.optimizer, module.layers.parameters())
    module.load_slots(optimizer, state)
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
            slots=module.slots(optimizer),
        ),
    )


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy().copy()
    return array
