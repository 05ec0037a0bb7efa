"""The classic tutorial in Keras, as its readers type it.

python examples/tutorial_keras.py             # train it, 10 epochs
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer

from mnist_mlp.data import load_dataset


def build() -> keras.Sequential:
    """784-128-64-10, sigmoid, softmax, compiled with SGD 0.01."""
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="sigmoid"),
            keras.layers.Dense(64, activation="sigmoid"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.SGD(0.01),
        metrics=["accuracy"],
    )
    return model


class Clock(keras.callbacks.Callback):
    """When training started, and when each epoch ended."""

    def on_train_begin(self, logs=None):
        self.times = [time.perf_counter()]

    def on_epoch_end(self, epoch, logs=None):
        self.times.append(time.perf_counter())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--timings", type=Path, help="write the seconds of each epoch here")
    chosen = options.parse_args()
    keras.utils.set_random_seed(chosen.seed)

    data = load_dataset("mnist")
    x = data.flat().astype("float32") / 255
    train_x, test_x, train_y, test_y = train_test_split(
        x, data.labels, test_size=0.25, random_state=42
    )
    binarizer = LabelBinarizer()
    train_y, test_y = binarizer.fit_transform(train_y), binarizer.transform(test_y)

    model, clock = build(), Clock()
    history = model.fit(
        train_x,
        train_y,
        validation_data=(test_x, test_y),
        epochs=chosen.epochs,
        batch_size=128,
        callbacks=[clock],
        verbose=0,
    )
    accuracy = history.history["val_accuracy"][-1]
    print(f"the tutorial in Keras, {chosen.epochs} epochs: accuracy {accuracy:.4f}")
    if chosen.timings:
        seconds = [end - start for start, end in pairwise(clock.times)]
        chosen.timings.write_text(json.dumps({"epochs_s": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
