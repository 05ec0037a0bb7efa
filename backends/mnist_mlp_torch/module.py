"""The network as a `LightningModule`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L  # noqa: N812 - the name its own documentation uses
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from mnist_mlp.contract import Spec, State, Tensors, activation_parts
from mnist_mlp.reference import bias_name, kernel_name, tensor_name
from mnist_mlp_torch.optimizers import SLOTS, make_optimizer

Activation = Callable[[Tensor], Tensor]


def _unchanged(z: Tensor) -> Tensor:
    return z


# No lambdas: the ranks of a run on several devices get the module as a pickle.
_ACTIVATIONS: dict[str, Activation] = {
    "linear": _unchanged,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    # By default torch's softplus is linear above 20, an error of 2e-9: visible in float64.
    "softplus": partial(functional.softplus, threshold=40),
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,  # the exact one, by erf
    "silu": functional.silu,
}


def activation(name: str) -> Activation:
    """The torch function for the name of an activation in a specification."""
    kind, slope = activation_parts(name)
    if kind == "leaky_relu":
        return partial(functional.leaky_relu, negative_slope=slope)
    return _ACTIVATIONS[kind]


class SampleMean(Metric):
    """Mean over all rows, computed from the means of batches, in float64.

    torchmetrics' own `MeanMetric` drops NaN, which hides a diverged run. With
    `nan_strategy="disable"` it ignores the weights, so that a smaller last batch counts too much.
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, batch_mean: Tensor, *, rows: Tensor | int) -> None:
        """Add one batch, or several at once: means (k,) and numbers of rows (k,)."""
        count = torch.as_tensor(rows, device=batch_mean.device)
        self.total += (batch_mean.double() * count).sum()
        self.rows += count.sum()

    def compute(self) -> Tensor:
        """The mean so far."""
        return self.total / self.rows


class Perceptron(L.LightningModule):
    """A multilayer perceptron that returns logits; the softmax is inside the loss.

    Parameters
    ----------
    spec : Spec
        Layers, optimizer and precision.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        float_type = getattr(torch, spec.training.precision)
        self.layers = nn.ModuleList(
            nn.Linear(inputs, units, dtype=float_type) for inputs, units, _ in spec.model.layers
        )
        self.activations = [activation(name) for name in spec.model.activations[:-1]]
        classes = spec.model.layer_sizes[-1]
        # "micro" is the share of correct rows. The default is a mean over classes.
        self.train_accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.val_accuracy = self.train_accuracy.clone()
        self.train_loss = SampleMean()
        self.val_loss = SampleMean()
        self.start = State(0, {})

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Loss and accuracy in training, then in validation."""
        return self.train_loss, self.train_accuracy, self.val_loss, self.val_accuracy

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of pixels (n, inputs) in [0, 1]."""
        *hidden, last = self.layers
        for layer, activate in zip(hidden, self.activations, strict=True):
            x = activate(layer(x))
        return last(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Mean cross-entropy of a batch."""
        del batch_index
        x, y = batch
        logits = self(x)
        loss = functional.cross_entropy(logits, y)
        self.train_loss.update(loss.detach(), rows=len(y))
        self.train_accuracy.update(logits.detach(), y)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Add a batch of the test set to the validation metrics."""
        del batch_index
        x, y = batch
        self.count_validated(self(x), y)

    def count_validated(self, logits: Tensor, y: Tensor) -> None:
        """Add logits (n, classes) and labels (n,) of test rows to the validation metrics."""
        self.val_loss.update(functional.cross_entropy(logits, y), rows=len(y))
        self.val_accuracy.update(logits, y)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Set the learning rate of this step by the schedule."""
        del batch, batch_index
        self.set_rate(self.optimizers(use_pl_optimizer=False))

    def set_rate(self, optimizer: torch.optim.Optimizer) -> float:
        """Set the learning rate of the next step by the schedule, and return it."""
        rate = self.spec.optimizer.rate_at(self.steps_done() + 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate

    def begin(self, start: State) -> None:
        """Take the state from which the next `Trainer.fit` starts."""
        self.load_weights(start.weights)
        self.start = start

    def steps_done(self) -> int:
        """Number of updates of the run so far. Lightning counts only those of its own `fit`."""
        return self.start.step + int(self.trainer.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The specification's optimizer, in the state from which training starts."""
        optimizer = make_optimizer(self.spec.optimizer, self.layers.parameters())
        self.load_slots(optimizer, self.start)
        return optimizer

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clip by the exact global norm; torch's `clip_grad_norm_` adds 1e-6 to the norm."""
        self.clip_gradients_exactly()

    def clip_gradients_exactly(self) -> None:
        """Scale all gradients by `clip_norm / norm` if the global norm is above `clip_norm`."""
        limit = self.spec.optimizer.clip_norm
        if limit == 0:
            return
        gradients = [parameter.grad for parameter in self.layers.parameters()]
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(g) for g in gradients])
        )
        # No `if`, since Python would have to wait for the GPU. A factor of 1 changes no bit.
        factor = (limit / norm).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(factor)

    # --- The border: canonical NumPy arrays on one side, tensors on the other -----------------

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (n, inputs) as floats in [0, 1], on the module's device."""
        weight = self.layers[0].weight
        return images.to(weight.device).to(weight.dtype).div(255)

    def load_weights(self, weights: Tensors) -> None:
        """Copy canonical weights into the module; a kernel is the transpose of torch's weight."""
        with torch.no_grad():
            for index, layer in enumerate(self.layers):
                layer.weight.copy_(
                    torch.from_numpy(np.ascontiguousarray(weights[kernel_name(index)].T))
                )
                layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(weights[bias_name(index)])))

    def canonical(self, of: Callable[[nn.Parameter], Tensor]) -> dict[str, np.ndarray[Any, Any]]:
        """`of(parameter)` of every parameter as a NumPy copy, by canonical name."""
        tensors = {}
        for index, layer in enumerate(self.layers):
            tensors[kernel_name(index)] = of(layer.weight).detach().cpu().numpy().T.copy()
            tensors[bias_name(index)] = of(layer.bias).detach().cpu().numpy().copy()
        return tensors

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """The weights, by canonical name."""
        return self.canonical(lambda parameter: parameter)

    def load_slots(self, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Set the optimizer's state; torch itself makes what is not given, at its first step."""
        for index, layer in enumerate(self.layers):
            for parameter, part in ((layer.weight, "kernel"), (layer.bias, "bias")):
                for slot, tensors in state.slots.items():
                    array = tensors[tensor_name(index, part)]
                    value = torch.empty_like(parameter, requires_grad=False)
                    value.copy_(torch.from_numpy(np.array(array.T, order="C")))
                    optimizer.state[parameter][SLOTS[slot]] = value
                    if slot != "velocity":
                        optimizer.state[parameter]["step"] = torch.tensor(float(state.step))

    def slots(self, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """The optimizer's state after at least one step, by slot and canonical name."""
        held = optimizer.state[self.layers[0].weight]

        def stored(key: str) -> Callable[[nn.Parameter], Tensor]:
            return lambda parameter: optimizer.state[parameter][key]

        return {
            slot: self.canonical(stored(key))
            for slot, key in SLOTS.items()
            if held.get(key) is not None
        }
