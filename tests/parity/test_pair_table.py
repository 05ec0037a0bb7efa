"""A share of the table of pairs, and both arbiters on one dense network; `make faults` runs all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from pair_table import PAIRS, PairEntry, judge_pair, pair_entries

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.parity.check.by_pair import check_pair
from mnist_mlp.parity.check.pair_side import Side
from mnist_mlp.parity.check.port import check_port
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.parity.findings import UNKNOWN
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

SHARE = [entry for entry in pair_entries() if entry.expected.get("share")]


def test_the_table_is_whole() -> None:
    """Every file is in use, every name stands in its file, a fault has no hypothesis."""
    targets = {e.expected[key] for e in pair_entries() for key in ("original", "port")}
    files = {target.partition(":")[0] for target in targets}
    assert files == {path.name for path in PAIRS.glob("*.py")}
    for target in targets:
        file, _, name = target.partition(":")
        text = (PAIRS / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text or f"class {name}(" in text, target
    causes = [cause for entry in pair_entries() for cause in entry.causes]
    assert causes.count(UNKNOWN) >= 1


@pytest.mark.parametrize("entry", SHARE, ids=lambda entry: entry.name)
def test_check_says_what_it_must(entry: PairEntry, workers: Workers) -> None:
    result = judge_pair(entry, workers, load_dataset("digits"))
    assert not result.faults, (result.faults, result.outcome.text)


KERAS = """
import keras

def build():
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(9, activation="sigmoid"),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model
"""

TORCH = """
import lightning
import torch
from torch import nn

class Port(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(30, 9), nn.Linear(9, 4)
        for layer in (self.a, self.b):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.b(torch.sigmoid(self.a(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


@pytest.mark.parametrize(
    ("right", "wrong", "cause"),
    [("", "", None), ("torch.sigmoid(", "torch.tanh(", "other_activation")],
    ids=["faithful", "activation"],
)
def test_both_arbiters_agree_on_a_dense_network(
    right: str, wrong: str, cause: str | None, tmp_path: Path, workers: Workers, small_data: Dataset
) -> None:
    """Exact arithmetic in NumPy, and the two frameworks by each other."""
    (tmp_path / "original_of_both.py").write_text(dedent(KERAS))
    (tmp_path / "port_of_both.py").write_text(dedent(TORCH).replace(right or "\0", wrong))
    targets = [
        parse_target(f"{tmp_path / name}")
        for name in ("original_of_both.py:build", "port_of_both.py:Port")
    ]
    sides = [
        Side(
            target, workers(target.framework), workers(target.framework).describe_port(target.text)
        )
        for target in targets
    ]
    spec = parse_spec(
        {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 32, "epochs": 2}}
    )
    by_pair, _ = check_pair(sides[0], sides[1], spec=spec, dataset=small_data)
    exact = check_port(targets[1], spec=spec, dataset=small_data, original=targets[0]).outcome
    for outcome in (by_pair, exact):
        first = outcome.first_break
        assert (first and first.cause.name) == cause, outcome.text
    assert by_pair.verdict == exact.verdict
