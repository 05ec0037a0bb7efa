"""What the code of a training loop shows of its learning rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_mlp.ports.loop_code import depends, leaves_early, writes_rates

OWN_OPTIMIZER = """
class Sign(torch.optim.Optimizer):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["step"] = self.state[p].get("step", 0) + 1
                p.add_(p.grad.sign(), alpha=-group["lr"])
"""


@pytest.mark.parametrize(
    "code",
    [
        "for g in optimizer.param_groups:\n    g['lr'] *= 0.1",
        "optimizer.param_groups[0]['lr'] = 0.1",
        "group = optimizer.param_groups[0]\ngroup['momentum'] = 0.5",
        "for g in optimizer.param_groups:\n    g[name] = value",
        "for i, g in enumerate(optimizer.param_groups):\n    g.update(lr=rates[i])",
        "optimizer.add_param_group({'params': head}); print(optimizer.param_groups)",
        "for g in optimizer.param_groups:  # no Python\n    %time",
    ],
)
def test_code_that_may_write_rates(code: str) -> None:
    """What stands in `param_groups` is then not known later."""
    assert writes_rates(code)


@pytest.mark.parametrize(
    "code",
    [
        "optimizer.step()",
        "print(optimizer.param_groups[0]['lr'])",
        "history['lr'] = optimizer.param_groups[0]['lr']",
        "lr = optimizer.param_groups[0]['lr']\nlog['lr'] = lr",
        OWN_OPTIMIZER,
    ],
)
def test_code_that_only_reads_rates(code: str) -> None:
    """As an optimizer of the user's own does."""
    assert not writes_rates(code)


LOOP = """\
if __name__ == "__main__":
    for epoch in range(9):
        for x, y in loader:
            if scheduler is not None:
                scheduler.step()
        if epoch < 5:
            scheduler.step()
        scheduler.step()
        if phase == "train":
            scheduler.step()
"""


@pytest.mark.parametrize(("line", "expected"), [(5, False), (7, True), (8, False), (10, False)])
def test_a_call_under_a_comparison_may_come_in_some_epochs_alone(
    tmp_path: Path, line: int, expected: bool
) -> None:
    """A question whether there is a schedule at all is none of these."""
    file = tmp_path / "loop.py"
    file.write_text(LOOP)
    assert depends((str(file), line)) is expected
    assert depends(None)


EARLY = """
for epoch in range(3):
    for a, b in loader:
        loss(a, b).backward()
        if small:
            LEAVE
    if patience > 3:
        break
"""


@pytest.mark.parametrize(("leave", "early"), [("break", True), ("continue", False)])
def test_a_loop_over_batches_that_is_left_early(leave: str, *, early: bool) -> None:
    """One over epochs may be left: how many there are is not known of any loop."""
    assert leaves_early(EARLY.replace("LEAVE", leave)) is early
