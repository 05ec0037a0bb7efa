"""The fixture `same_training`, as a user's test suite has it: by installing the package."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.parity.outcome import NamedSide, Outcome, Rung
from mnist_mlp.ports.lines import UserLine

SIDES = {side: NamedSide(label=side, path=side) for side in "ab"}
STEPS = ("spec", "data", "order", "init", "forward", "loss", "gradient", "update")


def outcome(broken):
    found = Break(side="b", rung="loss", place=Place(1, 2, 0, "mean"), cause=Cause("loss_sum"))
    found = found.blaming({"b": UserLine("wrong.py", 7, "loss = MSELoss()", "loss")})
    rungs = [Rung(name=name, status="clean", compared=1) for name in STEPS if name != broken]
    if broken:
        rungs.append(Rung(name=broken, status="broken"))
    return Outcome(
        verdict="different" if broken else "identical",
        text="text",
        sides=SIDES,
        rungs=rungs,
        breaks=[found] if broken else [],
    )


@pytest.fixture(autouse=True)
def no_framework(monkeypatch):
    def check(port, original, **options):
        from types import SimpleNamespace
        assert (original, options["image_shape"]) == ("original.py:build", (1, 28, 28))
        return SimpleNamespace(outcome=outcome("loss" if port == "wrong.py:Port" else ""))
    monkeypatch.setattr("mnist_mlp.testing.check", check)


@pytest.mark.parametrize("port", ["right.py:Port", "wrong.py:Port"])
def test_port(same_training, port):
    same_training(port, "original.py:build", dataset=None, image_shape=(1, 28, 28))
"""


def test_verdict_place_and_cause_are_in_the_report(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    ran = pytester.runpytest_subprocess("--junitxml=report.xml", "-p", "no:xdist")
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*AssertionError: text", "*breaks at rung loss, epoch 1, step 2*",
                               "*in the port: wrong.py:7: loss = MSELoss()"])  # fmt: skip
    right, wrong = (
        {item.get("name"): item.get("value") for item in case.iter("property")}
        for case in ElementTree.parse(pytester.path / "report.xml").iter("testcase")
    )
    assert right == {"mnist_mlp.verdict": "identical"}
    assert wrong == {
        "mnist_mlp.verdict": "different",
        "mnist_mlp.place": "rung loss, epoch 1, step 2, layer 0, mean",
        "mnist_mlp.cause": "loss_sum",
        "mnist_mlp.line": "wrong.py:7: loss = MSELoss()",
    }


def test_a_suite_that_does_not_ask_for_it_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_nothing_is_imported():
            assert "numpy" not in sys.modules
            assert "mnist_mlp.testing" not in sys.modules
        """
    )
    pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:hypothesispytest").assert_outcomes(
        passed=1
    )
