"""Attention in one convention, and what is tried where two of them differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_mlp.parity.pair.attention import of_settings
from mnist_mlp.ports.attention import BLIND, mask_name
from mnist_mlp.ports.pair import PairLayer

LOWER = np.tril(np.ones((5, 5), bool))


def layer(**settings: Any) -> PairLayer:
    known = {"heads": 2, "scale": 0.5, "mask": "none"}
    return PairLayer(3, "attention", "attention", known | settings)


def tried(a: PairLayer, b: PairLayer) -> list[tuple[str, dict[str, Any]]]:
    """Causes with the changes that they mean."""
    return [
        (cause.name, {mend.field: mend.value for mend in mends})
        for mends, cause in of_settings(a, b)
    ]


@pytest.mark.parametrize(
    ("allowed", "name"),
    [
        (None, "none"),
        (np.ones((2, 1, 5, 5), bool), "none"),
        (LOWER, "causal"),
        (np.broadcast_to(LOWER, (4, 2, 5, 5)), "causal"),
        (LOWER | LOWER.T, "none"),
        (LOWER.T, "given"),
        (np.array([LOWER, np.ones((5, 5), bool)]), "given"),
        (~LOWER, BLIND),
    ],
)
def test_masks_have_names(allowed: Any, name: str) -> None:
    assert mask_name(allowed) == name


def test_equal_attentions_leave_nothing_to_try() -> None:
    assert tried(layer(), layer()) == []


def test_other_heads_have_another_scale() -> None:
    assert tried(layer(), layer(heads=4, scale=0.7)) == [
        ("attention_heads", {"heads": 2, "scale": 0.5})
    ]


def test_a_scale_is_told_alone() -> None:
    assert tried(layer(), layer(scale=1.0)) == [("attention_scale", {"scale": 0.5})]


def test_a_missing_mask_is_laid_on() -> None:
    assert tried(layer(mask="causal"), layer()) == [("attention_mask", {"mask": "causal"})]


def test_a_mask_is_inverted_before_it_is_replaced() -> None:
    assert [fields["mask"] for _, fields in tried(layer(mask="causal"), layer(mask=BLIND))] == [
        "inverted",
        "causal",
    ]


def test_steps_may_be_rows() -> None:
    assert tried(layer(), layer(steps_first=True)) == [
        ("batch_first_missing", {"batch_first": True})
    ]
