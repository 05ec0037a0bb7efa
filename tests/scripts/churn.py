"""Churn prediction with an imbalanced target, as in the Keras guide on imbalanced data."""

import argparse

import keras
import numpy as np
from keras import layers


def make_data(n=600, seed=7):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12)).astype("float32")
    score = x[:, 0] - 0.8 * x[:, 3] + 0.5 * rng.normal(size=n)
    y = (score > 1.3).astype("float32")
    return x, y


def build_model():
    return keras.Sequential(
        [
            keras.Input(shape=(12,)),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(16, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.05)
    args = parser.parse_args()

    keras.utils.set_random_seed(1)
    x, y = make_data()
    model = build_model()
    model.compile(
        optimizer=keras.optimizers.SGD(args.lr, momentum=0.9),
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    model.summary()
    history = model.fit(
        x,
        y,
        batch_size=args.batch_size,
        epochs=args.epochs,
        validation_split=0.2,
        class_weight={0: 1.0, 1: 6.0},
        callbacks=[keras.callbacks.CSVLogger("churn.csv")],
    )
    print(history.history["val_auc"][-1])
    model.save("churn.keras")


if __name__ == "__main__":
    main()
