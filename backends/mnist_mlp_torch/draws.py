"""What torch draws itself: the initial weights of new layers, and the order of a `DataLoader`."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mnist_mlp.contract import Draws, Plan, Spec
from mnist_mlp_torch.module import Perceptron


class _Positions(Dataset[list[int]]):
    """Each row is its own position."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, position: int) -> int:
        return position

    def __getitems__(self, positions: list[int]) -> list[int]:
        return positions


def draw(spec: Spec, plan: Plan) -> Draws:
    """Weights of new `nn.Linear` layers, and the epochs of a `DataLoader(shuffle=True)`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        weights = Perceptron(spec).weights()
        loader = DataLoader(
            _Positions(len(plan.train_ids)),
            batch_size=spec.training.batch_size,
            shuffle=True,
            collate_fn=lambda positions: positions,
        )
        orders = [
            np.concatenate([np.array(batch, np.int64) for batch in loader])
            for _ in range(spec.training.epochs)
        ]
    return Draws(weights, np.stack(orders))
