"""Why the loss is not the mean cross-entropy of the side's own logits.

Losses of rows are written so that they accept complex logits. Their derivative is then computed by
a complex step (Squire and Trapp, 1998), which is exact to the last digit, since it subtracts
nothing. So no derivative has to be written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnist_mlp.parity.causes import penalty
from mnist_mlp.parity.causes.hypothesis import Hypothesis, step_of
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.arbiter import Expected
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.reference import Array, bias_name, kernel_name, log_softmax

RowLosses = Callable[[Array, Array], Array]
"""Loss of each row, `(n,)`, from logits `(n, classes)`, real or complex, and one-hot labels."""

EPS = 2.0**-23
"""Rounding of float32, in which the gradients are computed that numbers are fitted on."""

CLIP = 1e-7
"""`keras.config.epsilon()`."""


def softmax(z: Array) -> Array:
    """Softmax over the last axis."""
    return np.exp(log_softmax(z))


def cross_entropy(z: Array, y: Array) -> Array:
    """The specification's loss of each row."""
    return -(y * log_softmax(z)).sum(axis=1)


def _clip(p: Array, low: float, high: float) -> Array:
    """Clip by the real part. Outside the limits, the derivative is 0, as in the frameworks."""
    return np.where(p.real < low, low, np.where(p.real > high, high, p))


def _log_of_clipped(p: Array, y: Array) -> Array:
    return -(y * np.log(_clip(p, CLIP, 1 - CLIP))).sum(axis=1)


def _batch_softmax(z: Array, y: Array) -> Array:
    return -(y * log_softmax(z.T).T).sum(axis=1)


def _batch_softmax_gradient(z: Array, y: Array) -> Array:
    return y.sum(axis=0) * softmax(z.T).T - y


def _square(z: Array, y: Array) -> Array:
    return ((softmax(z) - y) ** 2).mean(axis=1)


def _binary(z: Array, y: Array) -> Array:
    # log(1 + exp(-|z|)) + max(z, 0) - z * y, in which exp cannot overflow. The real part chooses
    # the branch, because np.abs of a complex number has no complex derivative.
    positive = np.where(z.real > 0, z, 0)
    small = np.where(z.real > 0, -z, z)
    return (positive - z * y + np.log(1 + np.exp(small))).mean(axis=1)


FORMS: dict[str, tuple[str, RowLosses]] = {
    "softmax_twice": (
        "cross-entropy of softmax(softmax(z))",
        lambda z, y: cross_entropy(softmax(z), y),
    ),
    "log_softmax_missing": (
        "negative log likelihood of raw logits",
        lambda z, y: -(y * z).sum(axis=1),
    ),
    "logits_as_probabilities": (
        "logits divided by their sum and clipped at 1e-7",
        lambda z, y: _log_of_clipped(z / z.sum(axis=1, keepdims=True), y),
    ),
    "mean_squared_error": ("mean squared error of the probabilities", _square),
    "mean_squared_error_of_logits": (
        "mean squared error of the logits",
        lambda z, y: ((z - y) ** 2).mean(axis=1),
    ),
    "binary_crossentropy": ("one binary cross-entropy for each class", _binary),
    "labels_shifted": (
        "labels one class too high",
        lambda z, y: cross_entropy(z, np.roll(y, 1, axis=1)),
    ),
    "labels_shifted_down": (
        "labels one class too low",
        lambda z, y: cross_entropy(z, np.roll(y, -1, axis=1)),
    ),
}


@dataclass(frozen=True, eq=False)
class Form:
    """A loss: the mean over the losses of the rows, times a factor."""

    rows: RowLosses
    factor: Callable[[int], float] = lambda n: 1.0
    """The factor for `n` rows: 1 for the mean, `n` for the sum."""
    fitted: float = 0.0
    """Relative error of the numbers in it that were fitted on a step."""
    derivative: RowLosses | None = None
    """Gradient of the summed loss, `(n, classes)`. It is needed only if a row's loss depends on
    other rows: the complex step moves all rows at once."""

    def loss(self, logits: Array, labels: Array) -> Expected:
        """As `arbiter.mean_cross_entropy`."""
        z = np.asarray(logits, np.float64)
        with np.errstate(all="ignore"):
            losses = self.rows(z, one_hot(labels, z.shape[1]))
        factor = self.factor(len(z))
        value = np.asarray(losses.real.mean() * factor)
        base = arbiter.mean_cross_entropy(logits, labels).terms
        loose = 1 + self.fitted / EPS
        return Expected(value, abs(factor) * (loose * np.abs(losses).mean() + base))

    def at_logits(self, logits: Array, labels: Array) -> Expected:
        """As `arbiter.logit_gradient`, by a complex step."""
        z = np.asarray(logits, np.float64)
        y = one_hot(labels, z.shape[1])
        n = len(z)
        factor = self.factor(n) / n
        gradient = self.derivative(z, y) if self.derivative else self._by_complex_step(z, y)
        base = arbiter.logit_gradient(logits, labels).terms * n
        loose = 1 + self.fitted / EPS
        return Expected(gradient * factor, np.abs(factor) * (loose * np.abs(gradient) + 2 * base))

    def _by_complex_step(self, z: Array, y: Array) -> Array:
        h = 1e-30  # nothing is subtracted, so the step may be so small that its error vanishes
        gradient = np.empty_like(z)
        with np.errstate(all="ignore"):
            for column in range(z.shape[1]):
                moved = z.astype(complex)
                moved[:, column] += 1j * h
                gradient[:, column] = self.rows(moved, y).imag / h
        return gradient


def one_hot(labels: Array, classes: int) -> Array:
    """One-hot labels, float64 `(n, classes)`."""
    return np.eye(classes)[np.asarray(labels, np.int64)]


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Another reduction, another function of the logits, or a term added to the loss."""
    step = step_of(finding, steps)
    n = len(step.labels)
    yield _with(recipe, Cause("loss_sum", "sum over the batch"), Form(cross_entropy, float))
    for name, (text, rows) in FORMS.items():
        cause = "labels_shifted" if name.startswith("labels_shifted") else name
        yield _with(recipe, Cause(cause, text), Form(rows))
        yield _with(recipe, Cause(cause, f"{text}, summed"), Form(rows, float))
    yield _with(
        recipe,
        Cause("softmax_over_batch", "softmax over the rows of the batch"),
        Form(_batch_softmax, derivative=_batch_softmax_gradient),
    )
    yield _with(
        recipe,
        Cause("probability_clip", "log of probabilities clipped to [1e-7, 1 - 1e-7]"),
        Form(lambda z, y: _log_of_clipped(softmax(z), y)),
    )
    if finding.stress:
        return  # the causes below would show at the judged steps, and are fitted on one of them
    yield from _smoothed(recipe, step)
    yield from penalty.hypotheses(recipe, step)
    yield from _weighted(recipe, step)
    exact = recipe.batch_loss(Moment(step))
    if exact.value:
        ratio = step.record.loss / float(exact.value)
        # A ratio nearer to 1 is not distinguishable from rounding.
        if 0 < ratio < 1e6 and abs(ratio - 1) > 1e-5:
            text = f"{ratio:.6g} times the mean over {n} rows"
            yield _with(recipe, Cause("loss_scaled", text), Form(cross_entropy, lambda _: ratio))


def _with(recipe: Recipe, cause: Cause, form: Form) -> Hypothesis:
    return Hypothesis(cause, replace(recipe, loss=form.loss, at_logits=form.at_logits))


SMOOTHING = 3e-5
"""Relative error of an amount of label smoothing that was computed from a loss."""


def _smoothed(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    z = np.asarray(step.record.pre_activations[-1], np.float64)
    log_p = log_softmax(z)
    plain = float(cross_entropy(z, one_hot(step.labels, z.shape[1])).mean())
    uniform = float(-log_p.mean(axis=1).mean())
    if abs(uniform - plain) < 1e-6:
        return  # smoothing does not change such a loss, so no amount can be computed
    amount = (step.record.loss - plain) / (uniform - plain)
    if not 1e-3 <= amount < 1:
        return
    # People choose round amounts. A rounded one is exact, so it is tried first, without slack.
    for share, fitted in ((round(amount, 3), 0.0), (amount, SMOOTHING)):

        def rows(z: Array, y: Array, share: float = share) -> Array:
            return cross_entropy(z, y * (1 - share) + share / y.shape[1])

        yield _with(recipe, Cause("label_smoothing", f"{share:.4g}"), Form(rows, fitted=fitted))


WEIGHTS = 3e-5
"""Relative error of class weights that were computed from a gradient."""


def _weighted(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    """Class weights, by least squares from the last layer's gradient, which is linear in them."""
    record = step.record
    z = np.asarray(record.pre_activations[-1], np.float64)
    classes, n = z.shape[1], len(step.labels)
    below = np.asarray(record.activations[-1] if record.activations else record.inputs, np.float64)
    residual = softmax(z) - one_hot(step.labels, classes)
    present = np.unique(step.labels)
    columns = []
    for label in present:
        rows = step.labels == label
        columns.append(
            np.concatenate([(below[rows].T @ residual[rows]).ravel(), residual[rows].sum(0)])
        )
    last = len(record.pre_activations) - 1
    got = np.concatenate(
        [
            np.asarray(record.gradient[kernel_name(last)], np.float64).ravel(),
            np.asarray(record.gradient[bias_name(last)], np.float64),
        ]
    )
    solved, *_ = np.linalg.lstsq(np.stack(columns, axis=1), got, rcond=None)
    weights = np.ones(classes)
    weights[present] = solved * n
    if not (weights > 0).all() or np.ptp(weights) < 1e-3:
        return  # the gradient is not that of a weighted loss, or all weights are equal

    def rows_of(weights: Array) -> RowLosses:
        return lambda z, y: (y * weights).sum(axis=1) * cross_entropy(z, y)

    def normalised(weights: Array) -> RowLosses:
        def rows(z: Array, y: Array) -> Array:
            w = (y * weights).sum(axis=1)
            return w / w.mean() * cross_entropy(z, y)

        return rows

    # torch divides by the sum of the weights. Its gradient determines them only up to a factor,
    # so they are scaled until the smallest is 1.
    for how, found in (("divided by the batch size", weights), ("divided by their sum", weights)):
        by_sum = how.endswith("sum")
        shown: Any = found / found[present].min() if by_sum else found
        if np.abs(shown - np.round(shown, 3)).max() < WEIGHTS:
            shown = np.round(shown, 3)
        rows = normalised(shown) if by_sum else rows_of(shown)

        text = ", ".join(f"{value:.4g}" for value in shown) + f" ({how})"
        yield _with(recipe, Cause("class_weights", text), Form(rows, fitted=WEIGHTS))
