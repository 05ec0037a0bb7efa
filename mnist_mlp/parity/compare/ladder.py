"""The results collected while two runs are compared rung by rung."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnist_mlp.contract import EpochRecord
from mnist_mlp.parity.findings import Evidence, Side
from mnist_mlp.run.folder import Run


@dataclass(eq=False, kw_only=True)
class CompareEvidence(Evidence):
    """Results of a comparison.

    `inconclusive` lists the reasons why a comparison without a break would prove nothing.
    """

    inconclusive: list[str] = field(default_factory=list)

    def leave_open(self, *rungs: str, reason: str) -> None:
        """Record why these rungs are not tested, and that agreement is then not proved."""
        self.leave_out(*rungs, reason=reason)
        self.inconclusive.append(reason)


@dataclass(eq=False, kw_only=True)
class SideEvidence(CompareEvidence):
    """Results of one side, filled rung by rung. `records` holds the epochs that its backend
    reported, of a replay or of the run itself."""

    records: list[EpochRecord] = field(default_factory=list)


@dataclass(eq=False, kw_only=True)
class Ladder(CompareEvidence):
    """The runs of both sides, and all results so far."""

    runs: dict[Side, Run]

    def take(self, seen: SideEvidence) -> None:
        """Add the results of one side."""
        self.add(seen)
        self.inconclusive += seen.inconclusive
