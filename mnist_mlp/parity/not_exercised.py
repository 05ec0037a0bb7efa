"""What a comparison did not test: a clean result says nothing about these things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps.judge import moments
from mnist_mlp.parity.steps.memory import memory_of
from mnist_mlp.reference import global_norm, log_softmax
from mnist_mlp.spec import Spec


def not_exercised(steps: Sequence[JudgedStep], spec: Spec) -> list[str]:
    """What the judged steps did not test, one line of text each; empty if no step was judged."""
    untested = []
    plain = [step for step in steps if not step.stress and step.record.pre_activations[-1].size]
    if not plain:
        return []
    unknown = sum(1 for m in moments(plain) if memory_of(spec.optimizer, m) is None)
    if unknown:
        untested.append(
            f"the update at {unknown} of {len(plain)} judged steps: the optimizer's state before "
            f"them is not known"
        )
    limit = spec.optimizer.clip_norm
    if limit and max(global_norm(step.record.gradient) for step in plain) <= limit:
        untested.append(f"clipping: no judged gradient is longer than {limit:g}")
    if spec.training.epochs == 1:
        untested.append("a new order in each epoch: there is only one epoch")
    if spec.optimizer.momentum and not spec.optimizer.schedule:
        untested.append("momentum under a changing rate: the learning rate is constant")
    # Keras clips probabilities at 1e-7, so a difference there shows only below that value.
    smallest = min(_smallest_probability(step) for step in plain)
    if smallest > 1e-7:
        untested.append("probabilities under 1e-7 in training: only the stress batch has them")
    return untested


def early_stopping(spec: Spec, *, done: int = 0) -> list[str]:
    """That `check` doesn't judge early stopping, if the specification asks for it.

    `done` is the number of epochs that the port trained; 0 if it trained none as a whole.
    """
    training = spec.training
    if training.patience == 0:
        return []
    text = (
        f"early stopping (training.patience={training.patience}): after which epoch the port has "
        f"to stop"
    )
    stopped = 0 < done < training.epochs
    return [f"{text}; it stopped after epoch {done} of {training.epochs}" if stopped else text]


def _smallest_probability(step: JudgedStep) -> float:
    logits = np.asarray(step.record.pre_activations[-1], np.float64)
    return float(np.exp(log_softmax(logits).min()))
