"""What can be said of a port before it trains: one batch through a real `Trainer` tells."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mnist_mlp.contract import Runtime, Tensors, TrainingData
from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.protocol import OwnData, PortFacts
from mnist_mlp.ports.trials import wanted_draws
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp_torch.port.feed import Rows, loader_in_order
from mnist_mlp_torch.port.layers import Dense, Watch
from mnist_mlp_torch.port.lines import roles
from mnist_mlp_torch.port.load import Given, left_out, make_trainer, not_judged
from mnist_mlp_torch.port.own_data import batch_size_of
from mnist_mlp_torch.port.state import canonical, parameters_of

PROBE_ROWS = 128
DRAW_S, ENOUGH = 1.0, 200_000
"""Native initial weights are drawn for so long, or until the smallest kernel's elements are so
many."""


@dataclass(frozen=True)
class Probed:
    """What one batch told: dense layers in order of execution, and the facts."""

    dense: tuple[Dense, ...]
    facts: PortFacts


def probe(
    given: Given,
    runtime: Runtime,
    *,
    data: TrainingData,
    image_shape: tuple[int, ...],
    own: OwnData | None,
    keys: BatchKeys | None,
) -> Probed:
    """Run one training batch, a dictionary where it has `keys`, and look at initial weights and
    settings on the way."""
    module = given.fresh(seed=0)
    seen: dict[str, Any] = {}

    def on_train_batch_start(*_: Any) -> None:
        seen["random"] = _random_state()

    def on_train_batch_end(*_: Any) -> None:
        seen["drew"] = _random_state() != seen["random"]

    def on_train_start(trainer: Any, module: Any) -> None:
        seen["optimizer"] = optimizer_settings(trainer.optimizers)
        seen["optimizers"] = list(trainer.optimizers)
        seen["watch"] = Watch(module)
        seen["weights"] = {name: p.detach().clone() for name, p in module.named_parameters()}

    rows = min(len(data.train_labels), PROBE_ROWS)
    loader = loader_in_order(
        Rows(
            data.train_images,
            data.train_labels,
            shape=image_shape,
            dtype=torch.float32,
            keys=keys,
        ),
        batch_size=rows,
    )
    trainer = make_trainer(
        given,
        module,
        runtime,
        epochs=int(given.trainer.get("max_epochs") or 1),
        first={"on_train_start": on_train_start, "on_train_batch_start": on_train_batch_start},
        last={"on_train_batch_end": on_train_batch_end},
        one_batch=True,
    )
    try:
        with user_errors(given.path):
            trainer.fit(module, train_dataloaders=loader)
    finally:  # whatever else runs in this process is not watched
        if "watch" in seen:
            seen["watch"].stop()
    watch: Watch = seen["watch"]
    dense = tuple(watch.dense.values())
    with torch.no_grad():  # back to where training began
        for name, parameter in module.named_parameters():
            if name in seen["weights"]:
                parameter.copy_(seen["weights"][name])
    layers = watch.layers()
    # What a dropout draws is no secret; a hand-made one beside it would go unseen.
    drew = seen.get("drew", True) and not any(layer.settings.get("rate") for layer in layers)
    facts = PortFacts(
        framework="torch",
        layers=layers,
        loss=watch.losses[-1] if watch.losses else "",
        hidden=tuple(
            what for what, found in (("random", drew), ("statistics", watch.statistics)) if found
        ),
        draws=_draws(given, dense, at_start=_weights(module, dense)),
        optimizer=seen["optimizer"],
        batch_size=_own_batch_size(given),
        epochs=_number(given.trainer.get("max_epochs")),
        own=own,
        options={
            key: str(value) for key, value in given.trainer.items() if key not in ("callbacks",)
        },
        left_out=left_out(given),
        not_judged=not_judged(given),
        lines={
            **roles(seen["optimizers"], watch.loss_line, given.trainer),
            **watch.activations,
        },
    )
    return Probed(dense, facts)


def _random_state() -> tuple[Any, ...]:
    """Of the generators that a user's code may draw from."""
    numbers: Any = np.random.get_state()  # noqa: NPY002 - the one that users' code draws from
    return (
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        str(numbers[2:]),
        np.asarray(numbers[1]).tobytes(),
    )


def _own_batch_size(given: Given) -> int | None:
    return None if callable(given.loader) else batch_size_of(given.loader)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _weights(module: Any, dense: tuple[Dense, ...]) -> Tensors:
    return canonical(parameters_of(module, dense), lambda parameter: parameter)


def _draws(given: Given, dense: tuple[Dense, ...], *, at_start: Tensors) -> tuple[Tensors, ...]:
    """Native initial weights of several modules; one, where they are made anew from a seed of the
    user's own, or only when training begins."""
    draws = [at_start]
    if not given.repeatable or not dense:
        return tuple(draws)
    smallest = min(layer.inputs * layer.units for layer in dense)
    wanted = min(wanted_draws(smallest), -(-ENOUGH // smallest))
    start = time.process_time()
    for seed in range(wanted):
        try:
            drawn = _weights(given.drawn(seed=seed), dense)
        except (AttributeError, RuntimeError, ValueError):  # layers that are not there yet
            break
        if seed == 0:
            if not _close(drawn, at_start):
                break
            draws = [drawn]
            continue
        if _equal(drawn, draws[-1]):
            break
        draws.append(drawn)
        if time.process_time() - start > DRAW_S:
            break
    return tuple(draws)


def _equal(a: Tensors, b: Tensors) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def _close(a: Tensors, b: Tensors) -> bool:
    """The same, though a trainer may have changed the precision."""
    return all(np.allclose(a[name], b[name], rtol=1e-2) for name in a)


def kind_of_optimizer(optimizer: Any) -> str:
    """Name of torch's optimizer that it is or is made of; empty for one of the user's own."""
    for base in type(optimizer).__mro__:
        if base.__module__.startswith("torch.optim") and base is not torch.optim.Optimizer:
            return base.__name__
    return ""


_NAMES = {"lr": "learning_rate", "eps": "epsilon"}


def optimizer_settings(optimizers: list[Any]) -> Mapping[str, Any]:
    """Class name and plain numbers of the first optimizer's first group of parameters."""
    if not optimizers:
        return {}
    optimizer = optimizers[0]
    optimizer = getattr(optimizer, "optimizer", optimizer)
    settings: dict[str, Any] = {
        "name": type(optimizer).__name__,
        "kind": kind_of_optimizer(optimizer),
    }
    if not optimizer.param_groups:  # Lightning's stand-in where a module has none
        return {}
    group = optimizer.param_groups[0]
    for key, value in group.items():
        number = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
        if isinstance(number, bool | int | float):
            settings[_NAMES.get(key, key)] = number
    betas = group.get("betas")
    if isinstance(betas, tuple | list) and len(betas) == 2:
        settings["beta_1"], settings["beta_2"] = (float(beta) for beta in betas)
    if len(optimizer.param_groups) > 1:
        settings["groups"] = len(optimizer.param_groups)
    return settings
