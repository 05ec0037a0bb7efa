"""How many steps one call of a framework makes on the fast path.

A call costs about a millisecond, whatever it does, and nothing is heard of training while it lasts.
So a call should be long, and yet short enough that progress moves at least every second or so.
"""

from __future__ import annotations

from math import ceil

from mnist_mlp.plan import Plan

_CALL_FLOP = 1e10
"""Half a second at 20 GFLOP/s, which one core of a slow machine reaches."""

_MOST_STEPS = 1000
"""For tiny networks, whose steps cost a millisecond in torch however little they compute."""


def steps_per_call(plan: Plan) -> int:
    """Whole batches to a call, at least 1: an epoch falls into calls that are as equal as can be.

    A step is taken as 6 floating-point operations a parameter and row: two each for the forward
    pass and for the gradients of weights and inputs.
    """
    batch_size = plan.spec.training.batch_size
    flop = 6 * plan.spec.model.parameters * batch_size
    longest = min(max(int(_CALL_FLOP / flop), 1), _MOST_STEPS)
    whole = len(plan.train_ids) // batch_size
    calls = max(ceil(whole / longest), 1)
    return max(ceil(whole / calls), 1)
