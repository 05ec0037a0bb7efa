"""A torch optimizer in the shared language of settings, and experiments on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.update_rules import (
    CHANGEABLE,
    FIELDS,
    RULE_FIELDS,
    ByTensor,
    Settings,
    Updates,
    changed,
    settings_of_kind,
    value_at,
)
from mnist_mlp.reference import Array
from mnist_mlp_torch.port.facts import kind_of_optimizer
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.pair_attention import part_of

KINDS = {"AdamW": "Adam", "NAdam": "Nadam"}

DECOUPLED = ("AdamW",)

CLIP_SLACK = 1e-6
"""What `clip_grad_norm_` adds to the norm that it divides by."""


def of_group(optimizer: Any, group: Mapping[str, Any]) -> Settings:
    """The settings of a group of parameters; empty for a kind whose rule is not written down."""
    name = kind_of_optimizer(optimizer)
    kind = KINDS.get(name, name)
    if kind not in FIELDS:
        return {}
    found = {ours: _plain(group[theirs]) for ours, theirs in _arguments(kind).items()
             if group.get(theirs) is not None}  # fmt: skip
    if "betas" in group:
        found["beta_1"], found["beta_2"] = (float(_plain(beta)) for beta in group["betas"])
    found["decoupled"] = name in DECOUPLED or bool(group.get("decoupled_weight_decay"))
    return {"name": type(optimizer).__name__, **settings_of_kind("torch", kind, found)}


def _arguments(kind: str) -> Mapping[str, str]:
    """torch's names."""
    names = {
        "learning_rate": "lr", "epsilon": "eps", "rate_decay": "lr_decay",
        "initial_accumulator": "initial_accumulator_value", "rho": "rho",
        **{same: same for same in ("weight_decay", "maximize", "momentum", "nesterov", "dampening",
                                   "centered", "amsgrad", "momentum_decay")},
    }  # fmt: skip
    return {**names, "rho": "alpha"} if kind == "RMSprop" else names


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def clipping_of(trainer: Any) -> dict[str, Any]:
    """What Lightning clips gradients to before each update."""
    at = trainer.gradient_clip_val
    if not at or at <= 0:
        return {}
    algorithm = trainer.gradient_clip_algorithm
    if getattr(algorithm, "value", algorithm) == "value":
        return {"clip": "value", "clip_at": float(at)}
    return {"clip": "global", "clip_at": float(at), "clip_slack": CLIP_SLACK}


Names = Mapping[int, Sequence[tuple[str, str]]]
"""Canonical names and paths of what parameters hold, by identity."""


def by_tensor(
    optimizers: Sequence[Any], names: Names, clipping: Mapping[str, Any]
) -> dict[str, Settings]:
    """The settings of each tensor that an optimizer moves."""
    found: dict[str, Settings] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            settings = of_group(optimizer, group)
            for parameter in group["params"] if settings else ():
                for name, _ in names.get(id(parameter), ()):
                    found[name] = {**settings, **clipping}
    return found


# --- Experiments ----------------------------------------------------------------------------------


class Experiment:
    """Changes of the optimizers of one run.

    Arguments are set before each step. Where another rule is asked for, or a setting for one tensor
    alone, the step is taken by the rule as it is written down in NumPy.
    """

    def __init__(self, mends: Sequence[Mend], names: Names) -> None:
        asked = {mend.field: mend.value for mend in mends}
        self.interval = asked.get("interval")
        self.changes = {field: asked[field] for field in asked if field in CHANGEABLE}
        self.names = names
        self.step = 0
        self._updates = Updates()

    @property
    def by_rule(self) -> bool:
        """Whether no argument does it."""
        return any(
            name in RULE_FIELDS or name.startswith("clip") or isinstance(value, ByTensor)
            for name, value in self.changes.items()
        )

    def start(
        self, trainer: Any, before_step: Callable[[], None], after_step: Callable[[], None]
    ) -> None:
        """Take the optimizers in charge; `before_step` and `after_step` are called around each step
        by rule."""
        if self.interval is not None:
            for config in trainer.lr_scheduler_configs:
                config.interval, config.frequency = self.interval, 1
        if not self.by_rule:
            for optimizer in trainer.optimizers:
                self._fill_accumulators(optimizer)
            return
        clipping = clipping_of(trainer)
        trainer.gradient_clip_val = None
        for optimizer in trainer.optimizers:
            optimizer.step = self._stepping(optimizer, clipping, before_step, after_step)

    def _fill_accumulators(self, optimizer: Any) -> None:
        """Adagrad's are filled when it is made."""
        value = self.changes.get("initial_accumulator")
        for state in optimizer.state.values() if value is not None else ():
            state["sum"].fill_(value)

    def set_arguments(self, optimizer: Any) -> None:
        """Before a step, after whatever else has set them."""
        for group in optimizer.param_groups if self.changes and not self.by_rule else ():
            names = _arguments(of_group(optimizer, group).get("kind", ""))
            for field, value in self.changes.items():
                now = value_at(value, self.step, "")
                if field in ("beta_1", "beta_2") and "betas" in group:
                    betas = list(group["betas"])
                    betas[int(field[-1]) - 1] = now
                    group["betas"] = tuple(betas)
                elif names.get(field) in group:
                    group[names[field]] = now

    def _stepping(
        self,
        optimizer: Any,
        clipping: Mapping[str, Any],
        before_step: Callable[[], None],
        after_step: Callable[[], None],
    ) -> Callable[..., Any]:
        own = optimizer.step

        def step(closure: Callable[[], Any] | None = None) -> Any:
            # The optimizer's own step may set what the rule then goes by.
            weights = [w for group in optimizer.param_groups for w in group["params"]]
            before = [w.detach().clone() for w in weights]
            loss = own(closure) if closure is not None else own()
            with torch.no_grad():
                for w, kept in zip(weights, before, strict=True):
                    w.copy_(kept)
            before_step()
            self._take(optimizer, clipping)
            after_step()
            return loss

        return step

    def _take(self, optimizer: Any, clipping: Mapping[str, Any]) -> None:
        """A step by rule, of all tensors that have a name."""
        settings: dict[str, Settings] = {}
        weights: dict[str, Array] = {}
        gradients: dict[str, Array] = {}
        tensors: dict[str, Tensor] = {}
        for group in optimizer.param_groups:
            of_all = {**of_group(optimizer, group), **clipping}
            for w in group["params"]:
                if w.grad is None:
                    continue
                for name, path in self.names.get(id(w), ()):
                    settings[name] = changed(of_all, self.changes, self.step, name)
                    tensors[name] = part_of(path, w)
                    weights[name] = to_array(tensors[name]).copy()
                    gradients[name] = to_array(part_of(path, w.grad.to_dense())).copy()
        with torch.no_grad():
            for name, new in self._updates.taken(weights, gradients, settings).items():
                tensors[name].copy_(torch.from_numpy(np.ascontiguousarray(new)))
