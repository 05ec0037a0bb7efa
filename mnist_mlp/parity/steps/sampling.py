"""Choose the steps that are judged: a few windows of consecutive steps.

The first window begins at step 1. Other windows cover the end of the first epoch with its smaller
batch, the first steps of the second epoch, the first changes of the learning rate, and steps spread
evenly up to the last one. A window has at least three consecutive steps. This shows state that a
side carries over from one step to the next, such as a gradient that was not cleared or an
undeclared velocity.
"""

from __future__ import annotations

from collections.abc import Iterable

from mnist_mlp.plan import Plan

WIDTH = 3
"""Steps of a window."""

SPREAD = 4
"""Windows that are spread evenly over the run. The last one ends with the last step."""

SCHEDULE_CHANGES = 4
"""Changes of the learning rate that get a window. A schedule may change it at every step."""


def windows(plan: Plan) -> list[range]:
    """Windows of steps, which count from 1; in order and without overlaps."""
    per_epoch = plan.steps_per_epoch
    last = per_epoch * plan.spec.training.epochs
    starts = [1, per_epoch - 2, per_epoch, per_epoch + 1]
    changes = [step for step, _ in plan.spec.optimizer.schedule][:SCHEDULE_CHANGES]
    starts += [step - 1 for step in changes]  # the step before shows that the change is not early
    starts += [round(1 + (last - WIDTH) * part / SPREAD) for part in range(1, SPREAD + 1)]
    return merged(((start, start + WIDTH) for start in starts), last=last)


def merged(spans: Iterable[tuple[int, int]], *, last: int) -> list[range]:
    """Half-open spans, cut to the steps 1 .. last. Spans that touch or overlap are joined."""
    result: list[range] = []
    for start, stop in sorted(spans):
        span = range(max(start, 1), min(stop, last + 1))
        if not span:
            continue
        if result and span.start <= result[-1].stop:
            result[-1] = range(result[-1].start, max(result[-1].stop, span.stop))
        else:
            result.append(span)
    return result


def between(clean: int, broken: int, *, rounds: int = 8) -> list[range]:
    """Windows between a clean step and a broken one; they join to all steps if these are few."""
    gap = broken - clean
    starts = (clean + 1 + gap * part // rounds for part in range(rounds))
    return merged(((start, start + WIDTH) for start in starts), last=broken)


def place(plan: Plan, step: int) -> tuple[int, int]:
    """The epoch (from 1) of a step (from 1), and its position in that epoch (from 0)."""
    epoch, position = divmod(step - 1, plan.steps_per_epoch)
    return epoch + 1, position
