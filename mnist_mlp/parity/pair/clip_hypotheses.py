"""Changes of how a port clips its gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.clipping import scaling_of
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.updates import Hypothesis, Optimizers, same, short
from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.update_rules import Given, Settings, clipped


def unreached_clipping(both: Optimizers) -> tuple[str, bool] | None:
    """In words, two clippings that differ, where no judged step reaches a limit; and whether both
    sides clip. None if they are the same, or a step shows what they do."""
    if not both.known:
        return None
    a, b = both.first("a"), both.first("b")
    alike = a["clip"] == b["clip"] and same(a["clip_at"], b["clip_at"])
    if alike or any(_reaches(step) for step in (*both.a, *both.b)):
        return None
    words = f"{_clip_words(b)} instead of {_clip_words(a)}, which no judged step reaches"
    return words, bool(a["clip"] and b["clip"])


def _reaches(step: Given) -> bool:
    """Whether clipping changes a gradient by more than torch's 1e-6 behind the limit."""
    names = [n for n in step.gradients if n in step.settings]
    given = {n: step.gradients[n] for n in names}
    if not given:
        return False
    taken = clipped(given, step.settings)
    return any(np.abs(taken[n] - g).max(initial=0.0) > 1e-5 * np.abs(g).max(initial=0.0)
               for n, g in given.items())  # fmt: skip


def scaled(run: PairRun) -> Iterator[Hypothesis]:
    """Gradients that the port's own code multiplies by a number before its update."""
    steps = run.steps_b()
    factor = scaling_of([step.gradients for step in steps], [step.applied for step in steps])
    if factor is not None:
        mends = (Mend(None, "clip", ""), Mend(None, "clip_at", 0.0))
        yield Hypothesis(mends, Cause("gradient_scaled", f"{factor:.9g} times"))


CLIPS = {
    "": "no clipping",
    "tensor": "each tensor to a norm of",
    "global": "all tensors to a norm of",
    "value": "each element to",
}

CLIP_FIXES = {
    "keras": {
        "": "clipnorm=None, global_clipnorm=None, clipvalue=None in the optimizer",
        "tensor": "clipnorm={at} in the optimizer",
        "global": "global_clipnorm={at} in the optimizer",
        "value": "clipvalue={at} in the optimizer",
    },
    "torch": {
        "": "gradient_clip_val=None in the Trainer",
        "tensor": "nn.utils.clip_grad_norm_(w, {at}) for each parameter w",
        "global": 'gradient_clip_val={at}, gradient_clip_algorithm="norm" in the Trainer',
        "value": 'gradient_clip_val={at}, gradient_clip_algorithm="value" in the Trainer',
    },
    "a loop in torch": {
        "": "no clipping in front of optimizer.step()",
        "tensor": "nn.utils.clip_grad_norm_(w, {at}) for each parameter w, in front of the update",
        "global": "nn.utils.clip_grad_norm_(model.parameters(), {at})",
        "value": "nn.utils.clip_grad_value_(model.parameters(), {at})",
    },
}


def _clip_words(settings: Settings) -> str:
    words = CLIPS[settings["clip"]]
    return f"{words} {short(settings['clip_at'])}" if settings["clip"] else words


def of_clipping(both: Optimizers) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    fields = ["clip", "clip_at"]
    if a["clip"] == b["clip"]:
        name = "clip_limit"
    elif not b["clip"]:
        name = "clip_missing"
    else:
        name = {"tensor": "clip_per_tensor", "global": "clip_by_norm", "value": "clip_by_value"}[
            b["clip"]
        ]
    if a["clip"] != b["clip"]:
        fields.append("clip_slack")
    mends = tuple(Mend(None, field, a[field]) for field in fields)
    text = f"{_clip_words(b)} instead of {_clip_words(a)}"
    where = both.frameworks[1]
    where = "a loop in torch" if where == "torch" and both.loop else where
    fix = CLIP_FIXES[where][a["clip"]].format(at=short(a["clip_at"]))
    return Hypothesis(mends, Cause(name, text, fix=fix))


def of_slack(both: Optimizers) -> Hypothesis:
    """The port's clipping as it is, but for that; said in full, it takes the place of own code."""
    a, b = both.first("a"), both.first("b")
    mends = (
        *(Mend(None, field, b[field]) for field in ("clip", "clip_at")),
        Mend(None, "clip_slack", a["clip_slack"]),
    )
    cause = Cause("clip_norm_slack", "1e-6 is added to the norm by torch alone")
    return Hypothesis(mends, cause, noted=True)
