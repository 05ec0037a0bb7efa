"""Batches that cannot be judged are refused in words."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check.pair_refusals import refuse_third
from mnist_mlp.ports.inputs import Part


def brought(inputs: Sequence[int], targets: int) -> SimpleNamespace:
    """Rows with inputs of some sizes and one target."""
    parts = tuple(Part("", (n,), "float32") for n in inputs) if len(inputs) > 1 else ()
    rows = SimpleNamespace(inputs=sum(inputs))
    own = SimpleNamespace(
        parts=parts,
        rows=rows,
        flat=True,
        keys=None,
        first_targets=np.zeros((4, targets) if targets > 1 else 4),
    )
    return SimpleNamespace(own=own)


@pytest.mark.parametrize(
    ("a", "b", "refused"),
    [
        (([9, 9, 9], 1), ([9, 9], 9), True),
        (([9, 9], 1), ([9], 9), True),
        (([9, 9, 9], 1), ([9, 9, 9], 1), False),
        (([9, 9, 9], 9), ([9, 9], 9), False),
        (([9, 4, 9], 1), ([9, 9], 9), False),
    ],
    ids=["triplets", "pairs", "with targets", "the same targets", "an input is missing"],
)
def test_inputs_without_targets(
    a: tuple[list[int], int], b: tuple[list[int], int], refused: bool
) -> None:
    both = [brought(*a), brought(*b)]
    if not refused:
        refuse_third(both, "port.py")  # type: ignore[arg-type]
        return
    with pytest.raises(UsageError, match="are all inputs of the original"):
        refuse_third(both, "port.py")  # type: ignore[arg-type]
