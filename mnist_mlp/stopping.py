"""Early stopping and the best epoch: one definition, for all backends.

`r(x)` is `x` rounded to 6 significant digits, and `L(e)` the validation loss after epoch `e`.
Losses are compared rounded, because those of two backends differ in the seventh digit.

- Epoch 1 improves. A later epoch `e` improves if `r(L(e)) < r(r(L(b)) - min_delta)`, where `b` is
  the last epoch before it that improved.
- With `patience` above 0, training stops after epoch `e` if `e - b >= patience`.
- The best epoch is the first of those with the lowest `r(L)`, whatever `min_delta` is.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnist_mlp.spec import TrainingSpec


def rounded(loss: float) -> float:
    """A loss as it is compared: 6 significant digits.

    >>> rounded(0.12345649), rounded(1234567.8)
    (0.123456, 1234570.0)
    """
    return float(f"{loss:.6g}")


def is_lower(loss: float, other: float) -> bool:
    """Whether a loss is lower than another, as they are compared.

    >>> is_lower(0.5, 0.500001), is_lower(0.5, 0.5000001)
    (True, False)
    """
    return rounded(loss) < rounded(other)


def best_epoch(losses: Sequence[float]) -> int:
    """The epoch (from 1) with the lowest of the validation losses; 0 if there are none.

    >>> best_epoch([0.9, 0.5000001, 0.5, 0.7])
    2
    """
    best = 0
    for epoch, loss in enumerate(losses, start=1):
        if best == 0 or is_lower(loss, losses[best - 1]):
            best = epoch
    return best


def stops(losses: Sequence[float], training: TrainingSpec) -> bool:
    """Whether training stops after the last of these epochs; `losses` begin with epoch 1.

    >>> patient = TrainingSpec(patience=2)
    >>> [stops(losses, patient) for losses in ([0.9, 0.5, 0.6], [0.9, 0.5, 0.6, 0.5])]
    [False, True]
    """
    if training.patience == 0:
        return False
    best, improved = float("inf"), 0
    for epoch, loss in enumerate(losses, start=1):
        if epoch == 1 or rounded(loss) < rounded(best - training.min_delta):
            best, improved = rounded(loss), epoch
    return len(losses) - improved >= training.patience
