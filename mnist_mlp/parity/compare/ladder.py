"""What is gathered while two runs climb the rungs."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnist_mlp.contract import EpochRecord
from mnist_mlp.parity.findings import Evidence, Side
from mnist_mlp.run.folder import Run


@dataclass(eq=False, kw_only=True)
class CompareEvidence(Evidence):
    """Of a comparison; `inconclusive` holds why a verdict without a break would be no proof."""

    inconclusive: list[str] = field(default_factory=list)

    def leave_open(self, *rungs: str, reason: str) -> None:
        """Say why these rungs are not looked at, and that the verdict suffers from it."""
        self.leave_out(*rungs, reason=reason)
        self.inconclusive.append(reason)


@dataclass(eq=False, kw_only=True)
class SideEvidence(CompareEvidence):
    """What a side's backend showed; filled rung by rung."""

    records: list[EpochRecord] = field(default_factory=list)


@dataclass(eq=False, kw_only=True)
class Ladder(CompareEvidence):
    """Both sides' runs, and what was found of them so far."""

    runs: dict[Side, Run]

    def take(self, seen: SideEvidence) -> None:
        """Add what one side showed."""
        self.add(seen)
        self.inconclusive += seen.inconclusive
