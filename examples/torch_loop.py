"""The tutorial's network as a bare torch loop: no Lightning, no DataLoader, no metrics library.

python examples/torch_loop.py                    # train it, 10 epochs
python examples/torch_loop.py --no-validation    # training alone
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

from mnist_mlp.data import load_dataset


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--no-validation", action="store_true")
    options.add_argument("--timings", type=Path, help="write the seconds of each epoch here")
    chosen = options.parse_args()
    torch.manual_seed(chosen.seed)

    data = load_dataset("mnist")
    x = torch.tensor(data.flat()).float() / 255
    y = torch.tensor(data.labels).long()
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=42)

    model = nn.Sequential(
        nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 64), nn.Sigmoid(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    accuracy, ends = None, [time.perf_counter()]
    for _ in range(chosen.epochs):
        order = torch.randperm(len(train_x))
        for x, y in zip(train_x[order].split(128), train_y[order].split(128), strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        if not chosen.no_validation:
            with torch.no_grad():
                accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
        ends.append(time.perf_counter())
    if accuracy is not None:
        print(f"a bare torch loop, {chosen.epochs} epochs: accuracy {accuracy:.4f}")
    if chosen.timings:
        seconds = [end - start for start, end in pairwise(ends)]
        chosen.timings.write_text(json.dumps({"epochs_s": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
