"""LeNet with batch normalisation and dropout, in Keras.

python examples/lenet_keras.py                # train it, 3 epochs
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from sklearn.model_selection import train_test_split

from mnist_mlp.data import load_dataset


def build() -> keras.Sequential:
    """Two convolutions, two dense layers and the output, compiled with SGD and momentum."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(6, 5, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(16, 5),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(120, activation="relu"),
            keras.layers.Dropout(0.25),
            keras.layers.Dense(84, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--seed", type=int, default=42)
    chosen = options.parse_args()
    keras.utils.set_random_seed(chosen.seed)

    data = load_dataset("mnist")
    x = data.images[..., None].astype("float32") / 255
    train_x, test_x, train_y, test_y = train_test_split(
        x, data.labels, test_size=0.25, random_state=42
    )
    model = build()
    history = model.fit(
        train_x,
        train_y,
        validation_data=(test_x, test_y),
        epochs=chosen.epochs,
        batch_size=128,
        verbose=0,
    )
    accuracy = history.history["val_accuracy"][-1]
    print(f"LeNet in Keras, {chosen.epochs} epochs: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
