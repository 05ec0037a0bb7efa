"""What a pair's differences are called: experiments until nothing is left to mend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.experiments import CHAIN, explain, first_of
from mnist_mlp.parity.pair.judge import Finding, Judged
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.pair import Mend

NOTED = ("unbiased_variance",)
"""Differences that no port can avoid with its framework's own layers: told, and tolerated."""

MOST = 12
"""Differences that are mended one after another."""


@dataclass
class Explained:
    """Breaks with their causes, what is only noted, and what is left when all that is mended.

    `open_stages` are those behind a difference that could not be removed.
    """

    judged: Judged
    breaks: list[Break] = field(default_factory=list)
    noted: list[Cause] = field(default_factory=list)
    open_stages: list[str] = field(default_factory=list)


def explained(run: PairRun) -> Explained:
    """Mend what experiments explain, and look on behind it."""
    mends: tuple[Mend, ...] = ()
    seen = Explained(run.judged())
    for group in (CHAIN, ("update",), ("state",)):
        for _ in range(MOST):
            finding = first_of(run.judged(mends), group)
            if finding is None:
                break
            found = explain(finding, run, mends)
            if found is None:
                seen.breaks.append(_break(finding, run, Cause(UNKNOWN, _size(finding))))
                seen.open_stages += _behind(finding)
                break
            for each in found:
                if each.cause.name in NOTED:
                    seen.noted.append(each.cause)
                else:
                    seen.breaks.append(_break(finding, run, each.cause))
                mends += each.mends
    seen.noted += [
        Cause("flatten_order", f"{pair.b.name} takes or gives its features channels first")
        for pair in run.reordered
    ]
    seen.judged = run.judged(mends)
    return seen


def _behind(finding: Finding) -> Iterator[str]:
    if finding.stage in CHAIN:
        yield from CHAIN[CHAIN.index(finding.stage) + 1 :]


def _size(finding: Finding) -> str:
    if finding.size == float("inf"):
        return f"{finding.tensor}: {finding.got}, the original's {finding.expected}"
    return f"{finding.size:.2g} of the largest element of {finding.tensor}"


def _break(finding: Finding, run: PairRun, cause: Cause) -> Break:
    rung, layer, tensor = _place(finding)
    if cause.name == "convolution_settings":  # it may be the padding in front of the layer
        rung, layer, tensor = "forward", finding.layer, "pre_activation"
    epoch, _ = divmod(finding.step - 1, run.rows_b.steps)
    return Break(
        side="b",
        rung=rung,
        place=Place(epoch + 1, finding.step, layer, tensor),
        got=finding.got,
        expected=finding.expected,
        cause=cause,
    )


def _place(finding: Finding) -> tuple[str, int | None, str]:
    """Rung, layer and tensor, as the ladder names them."""
    layer = finding.layer
    match finding.stage:
        case "forward" if finding.tensor == "outputs":
            return "forward", layer, "pre_activation"
        case "forward" if layer == 0:
            return "data", 0, "inputs"
        case "forward":
            assert layer is not None
            return "forward", layer - 1, "activation"
        case "state":
            return "update", layer, f"moving_{finding.tensor}"
    return finding.stage, layer, finding.tensor
