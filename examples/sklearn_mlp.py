"""The tutorial's network as scikit-learn's MLPClassifier, an epoch per `partial_fit`.

python examples/sklearn_mlp.py                # train it, 10 epochs
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from mnist_mlp.data import load_dataset


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--timings", type=Path, help="write the seconds of each epoch here")
    chosen = options.parse_args()

    data = load_dataset("mnist")
    x = data.flat().astype("float32") / 255
    train_x, test_x, train_y, test_y = train_test_split(
        x, data.labels, test_size=0.25, random_state=42
    )
    model = MLPClassifier(
        hidden_layer_sizes=(128, 64),
        activation="logistic",
        solver="sgd",
        learning_rate_init=0.01,
        momentum=0,
        alpha=0,
        batch_size=128,
        random_state=chosen.seed,
    )
    accuracy, ends = 0.0, [time.perf_counter()]
    for _ in range(chosen.epochs):
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        accuracy = model.score(test_x, test_y)
        ends.append(time.perf_counter())
    print(f"scikit-learn's MLPClassifier, {chosen.epochs} epochs: accuracy {accuracy:.4f}")
    if chosen.timings:
        seconds = np.diff(ends).tolist()
        chosen.timings.write_text(json.dumps({"epochs_s": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
