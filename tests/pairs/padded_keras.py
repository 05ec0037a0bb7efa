"""Originals on texts and series of different lengths, padded to one length or batch by batch."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

WORDS, LONGEST, WIDTH = 40, 11, 14


def texts():
    """Lists of numbers of words, each as long as it is, and two classes."""
    rng = np.random.default_rng(0)
    lengths = (2 + rng.geometric(0.4, 130)).clip(max=LONGEST)
    x = [rng.integers(1, WORDS, n).tolist() for n in lengths]
    means = np.array([np.mean(row) for row in x])
    return x, (means > np.median(means)).astype("int64")


def padded(padding="post", maxlen=WIDTH, **options):
    x, y = texts()
    return keras.utils.pad_sequences(x, maxlen=maxlen, padding=padding, **options), y


def compiled(model):
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    return model


def network(*stack, mask_zero=True, length=None):
    return compiled(
        keras.Sequential(
            [
                keras.Input((length,), dtype="int32"),
                layers.Embedding(WORDS, 8, mask_zero=mask_zero),
                *stack,
                layers.Dense(1, activation="sigmoid"),
            ]
        )
    )


def fitted(*stack, mask_zero=True, padding="post", maxlen=WIDTH):
    x, y = padded(padding, maxlen)
    model = network(*stack, mask_zero=mask_zero, length=maxlen)
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30}}


def lstm():
    return fitted(layers.LSTM(6))


def lstm_in_front():
    return fitted(layers.LSTM(6), padding="pre")


def gru():
    return fitted(layers.GRU(6))


def mean():
    return fitted(layers.GlobalAveragePooling1D())


def dropped():
    return fitted(layers.Dropout(0.3), layers.LSTM(6))


def bidirectional():
    return fitted(layers.Bidirectional(layers.LSTM(6)))


def unmasked_lstm():
    return fitted(layers.LSTM(6), mask_zero=False)


def unmasked_in_front():
    return fitted(layers.LSTM(6), mask_zero=False, padding="pre")


def unmasked_mean():
    return fitted(layers.GlobalAveragePooling1D(), mask_zero=False)


def by_batches(*stack, mask_zero=True):
    """As `padded_batch` pads: each batch to its own longest."""
    x, y = texts()
    rows = tf.data.Dataset.from_generator(
        lambda: zip(x, y, strict=True),
        output_signature=(tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int64)),
    )
    rows = rows.shuffle(len(x), seed=1).padded_batch(30)
    return {"model": network(*stack, mask_zero=mask_zero), "fit": {"x": rows}}


def lstm_by_batches():
    return by_batches(layers.LSTM(6))


def mean_by_batches():
    return by_batches(layers.GlobalAveragePooling1D())


def unmasked_mean_by_batches():
    return by_batches(layers.GlobalAveragePooling1D(), mask_zero=False)


class Buckets(keras.utils.PyDataset):
    """Batches of texts of like lengths, each padded to its own longest text."""

    def __init__(self):
        super().__init__()
        self.x, self.y = texts()
        self.order = np.argsort([len(row) for row in self.x], kind="stable")

    def __len__(self):
        return math.ceil(len(self.x) / 30)

    def __getitem__(self, index):
        chosen = self.order[index * 30 : (index + 1) * 30]
        rows = keras.utils.pad_sequences([self.x[k] for k in chosen], padding="post")
        return rows, self.y[chosen]


def lstm_in_buckets():
    return {"model": network(layers.LSTM(6)), "fit": {"x": Buckets()}}


def series():
    """Rows of two numbers over time, of different lengths, and numbers to be told."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 2)).astype("float32") for n in rng.integers(3, LONGEST + 1, 130)]
    return x, np.array([row.sum() for row in x], "float32")


def masked_series():
    x, y = series()
    x = keras.utils.pad_sequences(x, WIDTH, "float32", padding="post")
    model = keras.Sequential(
        [keras.Input((WIDTH, 2)), layers.Masking(), layers.GRU(5), layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30}}


def convolution():
    """Windows of three words, of which the largest is taken, padding among them."""
    return fitted(
        layers.Conv1D(6, 3, activation="relu"), layers.GlobalMaxPooling1D(), mask_zero=False
    )


def stacked():
    return fitted(layers.LSTM(6, return_sequences=True), layers.Dropout(0.2), layers.LSTM(5))


def bidirectional_mean():
    return fitted(
        layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
        layers.GlobalAveragePooling1D(),
    )


def attention():
    x, y = padded()
    given = keras.Input((WIDTH,), dtype="int32")
    words = layers.Embedding(WORDS, 8, mask_zero=True)(given)
    z = layers.MultiHeadAttention(2, 4)(words, words)
    z = layers.GlobalAveragePooling1D()(z)
    model = compiled(keras.Model(given, layers.Dense(1, activation="sigmoid")(z)))
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30}}
