"""What is said of differences that have a name, and whether the cure suits the port."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_epochs import epochs_breaks
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.pair import arithmetic
from mnist_mlp.parity.pair.breaks import is_rounded
from mnist_mlp.parity.pair.clip_hypotheses import CLIP_FIXES
from mnist_mlp.parity.pair.judge import Finding
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.sequences import of_outputs
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.parity.steps.arbiter import keep_bits
from mnist_mlp.ports.pair import PairFacts, PairLayer, PairStep
from mnist_mlp.ports.pair_rows import PairRows

FACTS = PairFacts("torch", (), 0)


@pytest.mark.parametrize(
    ("a", "b", "name"), [(4, 6, "more_epochs"), (4, 3, "epochs_missing"), (4, 4, ""), (4, None, "")]
)
def test_other_numbers_of_epochs(tmp_path: Path, a: int, b: int | None, name: str) -> None:
    files = [tmp_path / each for each in ("a.py", "b.py")]
    for file in files:
        file.write_text("")
    sides = [Target(file, "", "keras") for file in files]
    found = epochs_breaks(sides[0], sides[1], a, b)
    assert [(x.cause.name, x.cause.fix) for x in found] == ([(name, "4 epochs")] if name else [])


@pytest.mark.parametrize(
    ("bits", "name"),
    [(7, "bfloat16_arithmetic"), (10, "float16_arithmetic"), (23, "")],
)
def test_numbers_of_16_bits_have_a_name(bits: int, name: str) -> None:
    x = keep_bits(np.random.default_rng(0).normal(size=(8, 3)), bits)
    step = PairStep({0: x}, {0: x}, 0.0, {"0/kernel": x}, {}, {})
    assert arithmetic.narrow(step) == name


def test_a_loop_clips_without_a_trainer() -> None:
    assert not [fix for fix in CLIP_FIXES["a loop in torch"].values() if "Trainer" in fix]
    assert CLIP_FIXES["a loop in torch"].keys() == CLIP_FIXES["torch"].keys()


@pytest.mark.parametrize(
    ("size", "scale", "several", "rounded"),
    [
        (4e-8, 2.0, True, True),
        (1e-4, 2.0, True, False),
        (4e-8, 1.0, True, False),
        (4e-8, 2.0, False, False),
    ],
    ids=["scaled elsewhere", "too much", "the same numbers", "one input"],
)
def test_rounded_data_of_several_inputs_are_no_difference(
    size: float, scale: float, several: bool, rounded: bool
) -> None:
    x, labels = np.random.default_rng(0).normal(size=(4, 2)), np.zeros(4)
    rows = [PairRows((made, labels) if several else made, labels, 2) for made in (x, scale * x)]
    run = PairRun(lambda _: (), FACTS, FACTS, (), rows[1], WeightMap(()), rows_a=rows[0])
    finding = Finding("forward", 1, 0, "inputs", size, "2", "1")
    assert is_rounded(finding, run) == rounded


@pytest.mark.parametrize(
    ("framework", "kind", "fix"),
    [
        ("torch", "rnn", 'nonlinearity="relu" in it'),
        ("torch", "lstm", "by hand, a cell of your own in a loop, with relu for the state, for it"),
        ("keras", "lstm", 'activation="relu" in it'),
    ],
)
def test_another_function_in_a_recurrent_layer(framework: str, kind: str, fix: str) -> None:
    """torch's own LSTM has no other one."""
    a = PairLayer(0, "a", kind, {"activation": "relu"})
    b = PairLayer(0, "it", kind, {"activation": "tanh"})
    ((_, cause),) = of_outputs(LayerPair(a, b), framework)
    assert (cause.name, cause.fix) == ("recurrent_settings", fix)


def test_another_first_state_of_a_recurrent_layer() -> None:
    a = PairLayer(0, "a", "lstm", {"state": "zeros"})
    b = PairLayer(0, "it", "lstm", {"state": "given"})
    ((_, cause),) = of_outputs(LayerPair(a, b), "torch")
    assert cause.fix == "by hand, call it with no first state"
