"""The losses of a torch step: what each looks at, and its weight in what is minimised."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from mnist_mlp.ports.pair import ClassWeights, Mend, PairLayer
from mnist_mlp.reference import Array
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.pair_layers import Call

ENTROPIES = ("cross_entropy", "nll_loss")


class Losses:
    """Calls of losses in one step, in their order.

    How much a loss counts in the sum of several is not seen in a user's arithmetic, but in the
    gradient that comes back to its result.
    """

    def __init__(self, mends: Mapping[int, Sequence[Mend]], *, share: float = 1.0) -> None:
        self.layers: list[PairLayer] = []
        self.looked_at: list[Any] = []
        """The targets, one of each loss."""
        self._mends, self._share = mends, share
        self._results: dict[int, Tensor] = {}
        self._weights: dict[int, Any] = {}
        self._nodes: dict[Any, int] = {}
        self._terms: list[tuple[Tensor, Any]] = []
        self.class_weights: ClassWeights | None = None
        """Those of the last loss."""
        self.targets: Sequence[Tensor] = ()
        """Those of the rows of this step, for losses that an experiment adds."""

    def made_by(self, result: Any, number: int, mends: Sequence[Mend]) -> None:
        """A layer with weights gave a result."""
        if isinstance(result, Tensor) and result.grad_fn is not None:
            self._nodes[result.grad_fn] = number
            self._terms += [(result, mend.value) for mend in mends if mend.field == "term"]

    def add(self, layer: PairLayer, given: Any, target: Any, result: Any) -> None:
        """A loss was called."""
        number = layer.number
        self.layers.append(replace(layer, behind=self._source(given)))
        self.looked_at.append(target)
        if isinstance(result, Tensor) and result.requires_grad:
            self._results[number] = result

            def came_back(gradient: Tensor) -> None:
                self._weights[number] = to_array(gradient)

            result.register_hook(came_back)

    def _source(self, given: Any) -> int | None:
        """The nearest layer with weights that a loss's input is made of."""
        start = getattr(given, "grad_fn", None)
        waiting, seen = deque([start]), {start}
        while waiting:
            node = waiting.popleft()
            if node in self._nodes:
                return self._nodes[node]
            for further, _ in getattr(node, "next_functions", ()):
                if further is not None and further not in seen:
                    seen.add(further)
                    waiting.append(further)
        return None

    def with_more(self, total: Tensor) -> Tensor:
        """What is minimised, with other weights of some losses, as experiments have it."""
        for number, result in self._results.items():
            for mend in self._mends.get(number, ()):
                if mend.field == "added":
                    total = total + self._share * mend.value * result
        for output, (kind, settings, weight, place) in self._terms:
            total = total + self._share * weight * _taken(
                kind, settings, output, self.targets[place]
            )
        return total

    def weighed(self, *, times: int = 1) -> tuple[PairLayer, ...]:
        """Those that are minimised, and of others those whose layer none of them looks at.

        Of several, each has its `weight`, if it is one number, in an update of so many batches.
        """
        counts = [bool(np.any(self._weights.get(x.number, 0.0))) for x in self.layers]
        judged = {x.behind for x, used in zip(self.layers, counts, strict=True) if used}
        if not judged:
            return tuple(self.layers[-1:])
        found = [
            layer
            for layer, used in zip(self.layers, counts, strict=True)
            if used or (layer.behind is not None and layer.behind not in judged)
        ]
        if len(found) < 2:
            return tuple(found)
        return tuple(self._with_weight(layer, times) for layer in found)

    def targets_among(
        self, rows: Sequence[Array], of: Sequence[PairLayer]
    ) -> tuple[int | None, ...]:
        """The places, among several targets of the rows of a step, of those that losses look at."""
        asked = {layer.number for layer in of}
        looked = [
            target
            for layer, target in zip(self.layers, self.looked_at, strict=True)
            if layer.number in asked
        ]
        return tuple(_place(target, rows) for target in looked)

    def _with_weight(self, layer: PairLayer, times: int) -> PairLayer:
        weight = times * np.asarray(self._weights.get(layer.number, 0.0))
        if weight.size != 1:
            return layer
        return replace(layer, settings={**layer.settings, "weight": float(weight.ravel()[0])})


def class_weights_of(call: Call) -> ClassWeights | None:
    """The weights of classes that a loss is given."""
    weight, positive = (call.arguments.get(name) for name in ("weight", "pos_weight"))
    if isinstance(positive, Tensor) and positive.numel() == 1:
        return ClassWeights(((0, 1.0), (1, float(positive))))
    if isinstance(weight, Tensor) and weight.dim() == 1 and call.kind in ENTROPIES:
        mean = call.arguments.get("reduction", "mean") == "mean"
        return ClassWeights(tuple(enumerate(weight.tolist())), divides=mean)
    return None


def with_class_weights(
    call: Call, own: Callable[..., Tensor], weights: ClassWeights | None
) -> Tensor:
    """A loss as it is, but for its weights of classes."""
    plain = {name: None for name in ("weight", "pos_weight") if name in call.arguments}
    target = call.arguments["target"]
    if weights is None:
        return own(**plain)
    each = own(**plain, reduction="none")
    classes = target
    if target.is_floating_point() and target.dim() > 1 and target.shape[1] > 1:
        classes = target.argmax(dim=1)
    if classes.numel() != each.numel():  # several numbers of each row
        return own()
    counted = torch.from_numpy(weights.of(to_array(classes))).to(each.dtype)
    return (each.reshape(-1) * counted).mean()


def _taken(kind: str, settings: Mapping[str, Any], output: Tensor, target: Tensor) -> Tensor:
    """A loss by its shared name, of the result of the last layer with weights."""
    if kind == "binary_cross_entropy":  # behind a sigmoid
        kind = "binary_cross_entropy_with_logits"
    if kind == "cross_entropy":
        classes = target.reshape(len(target), -1)
        one_hot = classes.shape[1] == output.shape[1]
        target = classes.to(output.dtype) if one_hot else classes[:, 0].long()
        return F.cross_entropy(output, target, label_smoothing=settings.get("smoothing", 0.0))
    options = {"delta": settings["delta"]} if "delta" in settings else {}
    reduction = settings.get("reduction", "mean")
    loss: Callable[..., Tensor] = getattr(F, kind)
    return loss(
        output, target.to(output.dtype).reshape(output.shape), reduction=reduction, **options
    )


def _place(target: Any, rows: Sequence[Array]) -> int | None:
    """Which of several targets one is, whatever its shape; None for none of them, or for two."""
    if not isinstance(target, Tensor):
        return None
    got = to_array(target).ravel()
    same = [
        place
        for place, known in enumerate(rows)
        if known.size == got.size and np.allclose(known.ravel(), got, rtol=1e-6)
    ]
    return same[0] if len(same) == 1 else None
