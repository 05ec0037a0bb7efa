"""Originals of which people ask why their port in torch trains otherwise."""

import keras
import numpy as np
from keras import layers, ops

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(96, 10)).astype("float32")
CLASSES = DRAW.integers(0, 2, 96)
NUMBERS = DRAW.normal(size=(96, 4)).astype("float32")
STEPS = DRAW.normal(size=(96, 6, 5)).astype("float32")
VOLUMES = np.maximum(DRAW.normal(size=(96, 7, 6, 4, 1)), 0).astype("float32")
FILMS = DRAW.random((96, 4, 7, 7, 2)).astype("float32")
WORDS = DRAW.integers(1, 9, (96, 7)) * (np.arange(7) < DRAW.integers(2, 8, 96)[:, None])


def fitted(inputs, outputs, loss, x, y):
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.05), loss)
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16, "epochs": 2}}


def two_classes():
    """A binary loss behind a softmax: Keras takes what went into it for logits."""
    x = keras.Input((10,))
    y = layers.Dense(2, activation="softmax")(layers.Dense(6, activation="relu")(x))
    return fitted(x, y, "binary_crossentropy", ROWS, np.eye(2, dtype="float32")[CLASSES])


def volumes():
    """The maximum over volumes, of which many numbers are equal."""
    x = keras.Input((7, 6, 4, 1))
    y = layers.MaxPooling3D(2)(x)
    y = layers.Conv3D(3, 2, padding="same", activation="relu")(y)
    y = layers.MaxPooling3D((2, 2, 1), strides=1, padding="same")(y)
    y = layers.Dense(2)(layers.GlobalAveragePooling3D()(y))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return fitted(x, y, loss, VOLUMES, CLASSES)


def film():
    """Convolutions of each picture of a film."""
    x = keras.Input((4, 7, 7, 2))
    y = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(x)
    y = layers.TimeDistributed(layers.GlobalAveragePooling2D())(y)
    y = layers.Dense(2, activation="softmax")(layers.GRU(5)(y))
    return fitted(x, y, "sparse_categorical_crossentropy", FILMS, CLASSES)


def attention():
    """Keras's layer of dot products, and a normalisation by the root mean square."""
    x = keras.Input((6, 5))
    y = layers.Attention()([layers.Dense(4)(x), layers.Dense(4)(x)])
    y = layers.RMSNormalization(epsilon=1e-6)(y)
    y = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(y))
    return fitted(x, y, "sparse_categorical_crossentropy", STEPS, CLASSES)


class Pooled(layers.Layer):
    """A mean over the steps with weights that are learned."""

    def __init__(self):
        super().__init__()
        self.score = layers.Dense(1, use_bias=False)

    def call(self, x):
        return ops.sum(ops.softmax(self.score(x), axis=1) * x, axis=1)


def pooled():
    """A softmax over the steps."""
    x = keras.Input((6, 5))
    y = Pooled()(layers.Dense(4, activation="tanh")(x))
    y = layers.Dense(2, activation="softmax")(y)
    return fitted(x, y, "sparse_categorical_crossentropy", STEPS, CLASSES)


def direction():
    """Of unit length, by the negative cosine."""
    x = keras.Input((10,))
    y = layers.UnitNormalization()(layers.Dense(4)(layers.Dense(6, activation="tanh")(x)))
    return fitted(x, y, keras.losses.CosineSimilarity(), ROWS, NUMBERS)


def bounded():
    """ReLU with an upper bound that no number reaches."""
    x = keras.Input((10,))
    y = layers.Dense(2)(layers.ReLU(6.0)(layers.Dense(6)(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return fitted(x, y, loss, 0.1 * ROWS, CLASSES)


def words():
    """Two recurrent layers that leave padding behind the words out."""
    x = keras.Input((7,))
    y = layers.SimpleRNN(5, return_sequences=True)(layers.Embedding(9, 4, mask_zero=True)(x))
    y = layers.Dense(2, activation="softmax")(layers.SimpleRNN(5)(y))
    return fitted(x, y, "sparse_categorical_crossentropy", WORDS, CLASSES)
