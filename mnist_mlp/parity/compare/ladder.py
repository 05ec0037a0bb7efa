"""What is gathered while two runs climb the rungs."""

from __future__ import annotations

from mnist_mlp.parity.compare.side import SideEvidence
from mnist_mlp.parity.findings import Break, Cause, JudgedStep, Side
from mnist_mlp.run.folder import Run


class Ladder:
    """Gathers breaks, missing evidence and margins while the rungs are climbed."""

    def __init__(self, a: Run, b: Run) -> None:
        self.runs: dict[Side, Run] = {"a": a, "b": b}
        self.breaks: list[Break] = []
        self.missing: dict[str, str] = {}
        self.inconclusive: list[str] = []
        self.noted: list[Cause] = []
        self.margins: dict[str, float] = {}
        self.steps: list[JudgedStep] = []

    def broken(self, *rungs: str) -> bool:
        """Whether any of these rungs broke."""
        return any(item.rung in rungs for item in self.breaks)

    def take(self, seen: SideEvidence) -> None:
        """Add what one side showed."""
        self.breaks += seen.breaks
        self.missing |= seen.missing
        self.inconclusive += seen.inconclusive
        self.steps += seen.steps
        if seen.explained:
            self.noted += [cause for cause in seen.explained.noted if cause not in self.noted]
            for rung, margin in seen.explained.margins.items():
                self.margins[rung] = max(margin, self.margins.get(rung, 0.0))
