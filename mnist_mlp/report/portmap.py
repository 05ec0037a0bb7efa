"""The port map: each part of a specification in Keras and in torch, with the traps of porting.

A trap is a default in which the two frameworks differ. The traps come from the catalogue of causes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnist_mlp.parity.causes.catalogue import Entry, catalogue
from mnist_mlp.spec import OptimizerSpec, Spec, activation_parts

_TORCH_ACTIVATIONS = {
    "relu": "F.relu(x)",
    "sigmoid": "torch.sigmoid(x)",
    "tanh": "torch.tanh(x)",
    "softplus": "F.softplus(x)",
    "elu": "F.elu(x)",
    "selu": "F.selu(x)",
    "gelu": "F.gelu(x)",
    "silu": "F.silu(x)",
}


@dataclass(frozen=True)
class PortMapRow:
    """One part. `traps` are the causes of the catalogue that a port relying on defaults meets."""

    part: str
    keras: str
    torch: str
    traps: tuple[Entry, ...] = ()


def port_map(spec: Spec) -> tuple[PortMapRow, ...]:
    """All parts of a specification, in the order in which a program has them."""
    return (*_data(spec), *_layers(spec), *_loss(spec), *_optimizer(spec.optimizer), *_loop(spec))


def _mapped(part: str, keras: str, torch: str, *traps: str) -> PortMapRow:
    known = catalogue()
    return PortMapRow(part, keras, torch, tuple(known[name] for name in traps if name in known))


def _data(spec: Spec) -> Iterator[PortMapRow]:
    inputs = spec.model.layer_sizes[0]
    yield _mapped(
        "Pixels",
        f"x = images.reshape(-1, {inputs}) / 255",
        "x = images.flatten(start_dim=1).float() / 255",
        "pixels_not_scaled",
    )
    if spec.training.precision == "float64":
        yield _mapped(
            "Precision",
            'keras.config.set_floatx("float64")',
            'L.Trainer(precision="64-true")',
            "float32_arithmetic",
        )


def _layers(spec: Spec) -> Iterator[PortMapRow]:
    *hidden, (inputs, units, _) = spec.model.layers
    for number, (n, m, activation) in enumerate(hidden):
        yield _mapped(
            f"Layer {number}: {n} to {m}",
            _keras_dense(m, activation),
            f"x = nn.Linear({n}, {m})(x){_torch_activation(activation)}",
            *_activation_traps(activation),
        )
    yield _mapped(
        f"Layer {len(hidden)}: {inputs} to {units}, the logits",
        f'Dense({units}, activation="softmax")',
        f"logits = nn.Linear({inputs}, {units})(x)  # no softmax",
        "softmax_twice",
    )
    yield _mapped(
        "Initial kernels",
        'kernel_initializer="glorot_uniform"  # the default',
        "nn.init.xavier_uniform_(layer.weight)",
        "torch_default_kernel_init",
    )
    yield _mapped(
        "Initial biases",
        'bias_initializer="zeros"  # the default',
        "nn.init.zeros_(layer.bias)",
        "torch_default_bias_init",
    )


def _keras_dense(units: int, activation: str) -> str:
    kind, slope = activation_parts(activation)
    if kind == "leaky_relu":
        return f"Dense({units}); LeakyReLU(negative_slope={slope:g})"
    return f'Dense({units}, activation="{kind}")'


def _torch_activation(activation: str) -> str:
    kind, slope = activation_parts(activation)
    if kind == "leaky_relu":
        return f"; x = F.leaky_relu(x, negative_slope={slope:g})"
    return f"; x = {_TORCH_ACTIVATIONS[kind]}" if kind in _TORCH_ACTIVATIONS else ""


def _activation_traps(activation: str) -> tuple[str, ...]:
    kind, _ = activation_parts(activation)
    return {"gelu": ("gelu_tanh_approximation",), "leaky_relu": ("leaky_relu_slope",)}.get(kind, ())


def _loss(spec: Spec) -> Iterator[PortMapRow]:
    del spec
    yield _mapped(
        "Loss",
        'loss="sparse_categorical_crossentropy"',
        "loss = F.cross_entropy(logits, y)",
        "probability_clip",
    )


def _optimizer(spec: OptimizerSpec) -> Iterator[PortMapRow]:
    rate = f"{spec.learning_rate:g}"
    if spec.name == "adam":
        betas = f"{spec.beta_1:g}, {spec.beta_2:g}"
        yield _mapped(
            "Adam",
            f"Adam({rate}, beta_1={spec.beta_1:g}, beta_2={spec.beta_2:g}, "
            f"epsilon={spec.epsilon:g})",
            f"torch.optim.Adam(self.parameters(), lr={rate}, betas=({betas}))  # and epsilon",
            "adam_epsilon",
            "adam_epsilon_placement",
        )
    else:
        yield _mapped(
            "SGD",
            f"SGD({rate})",
            f"torch.optim.SGD(self.parameters(), lr={rate})",
            "learning_rate",
        )
    if spec.momentum:
        nesterov = ", nesterov=True" if spec.nesterov else ""
        option = f"momentum={spec.momentum:g}{nesterov}"
        yield _mapped(
            "Momentum", f"SGD(..., {option})", f"SGD(..., {option})", "learning_rate_in_velocity"
        )
    if spec.weight_decay:
        yield _mapped(
            "Weight decay",
            f"gradient + {spec.weight_decay:g} * variable  # in update_step",
            f"weight_decay={spec.weight_decay:g}",
            "decoupled_weight_decay",
        )
    if spec.clip_norm:
        yield _mapped(
            "Clipping",
            f"global_clipnorm={spec.clip_norm:g}",
            f"L.Trainer(gradient_clip_val={spec.clip_norm:g})",
            "clip_per_tensor",
            "clip_by_norm",
        )
    if spec.schedule:
        steps = [step for step, _ in spec.schedule]
        rates = [spec.learning_rate, *(rate for _, rate in spec.schedule)]
        # Keras counts updates from 0 and still uses the old rate at a boundary. So the rate of step
        # s, counted from 1, needs the boundary s - 2.
        before = [step - 2 for step in steps]
        yield _mapped(
            "Learning rate schedule",
            f"PiecewiseConstantDecay({before}, {rates})",
            f'the new rate from step {steps[0]:,} on, by a scheduler with "interval": "step"',
            "schedule_ignored",
        )


def _loop(spec: Spec) -> Iterator[PortMapRow]:
    size = spec.training.batch_size
    yield _mapped(
        "Batches",
        f"model.fit(x, y, batch_size={size})",
        f"DataLoader(rows, batch_size={size}, shuffle=True)",
        "batch_size",
        "last_batch_dropped",
    )
    yield _mapped(
        "Order of the rows",
        "model.fit(x[order], y[order], shuffle=False)  # an epoch at a time",
        f"DataLoader(rows, batch_size={size}, sampler=order)",
        "order_not_reshuffled",
        "validation_moves_order",
    )
    yield _mapped(
        "Loss of an epoch",
        'history.history["loss"]',
        'self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(y))',
        "unweighted_epoch_mean",
    )
    classes = spec.model.layer_sizes[-1]
    yield _mapped(
        "Accuracy",
        'metrics=["accuracy"]',
        f'MulticlassAccuracy({classes}, average="micro")',
        "macro_accuracy",
    )
    training = spec.training
    if training.patience:
        # Given the same arguments, both stop after the epoch that `mnist_mlp.stopping` names. Left
        # out, patience is 0 in Keras and 3 in Lightning.
        call = (
            f'EarlyStopping("val_loss", patience={training.patience}, '
            f"min_delta={training.min_delta:g})"
        )
        yield _mapped(
            "Early stopping",
            f"{call}  # restore_best_weights=False, the default, keeps the last weights",
            f"{call}  # counts validation checks, not epochs; keeps the last weights; ends at NaN",
        )
