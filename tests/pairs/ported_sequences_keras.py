"""Originals for sequences and texts, as their tutorials have them. Nobody brings data."""

import keras
import numpy as np
from keras import layers, ops


def compiled(inputs, outputs, loss="sparse_categorical_crossentropy"):
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def wavenet():
    """Dilated causal convolutions with gates, residuals and skips."""
    sequence = keras.Input((16, 3))
    x = layers.Conv1D(6, 2, padding="causal")(sequence)
    skips = []
    for dilation in (1, 2, 4):
        a = layers.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="tanh")(x)
        b = layers.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(x)
        y = layers.Multiply()([a, b])
        skips.append(layers.Conv1D(6, 1)(y))
        x = layers.Add()([x, skips[-1]])
    y = layers.Activation("relu")(layers.Add()(skips))
    y = layers.Conv1D(8, 1, activation="relu")(y)
    return compiled(sequence, layers.Conv1D(5, 1, activation="softmax")(y))


def tcn():
    """A residual block of dilated convolutions with dropout of whole channels."""
    sequence = keras.Input((12, 4))
    x = sequence
    for dilation in (1, 2):
        y = layers.Conv1D(6, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
        y = layers.SpatialDropout1D(0.2)(y)
        y = layers.Conv1D(6, 3, padding="causal", dilation_rate=dilation, activation="relu")(y)
        y = layers.SpatialDropout1D(0.2)(y)
        if x.shape[-1] != 6:
            x = layers.Conv1D(6, 1)(x)
        x = layers.Activation("relu")(layers.Add()([x, y]))
    return compiled(sequence, layers.Dense(3, activation="softmax")(x[:, -1]))


def stacked_lstm():
    """Two layers with dropout between them, and regression."""
    sequence = keras.Input((8, 3))
    x = layers.LSTM(6, return_sequences=True)(sequence)
    x = layers.Dropout(0.3)(x)
    x = layers.LSTM(5)(x)
    model = keras.Model(sequence, layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def tagger():
    """A class for each step, by a GRU."""
    words = keras.Input((9,), dtype="int32")
    x = layers.Embedding(25, 6)(words)
    x = layers.GRU(7, return_sequences=True)(x)
    x = layers.TimeDistributed(layers.Dense(4, activation="softmax"))(x)
    return compiled(words, x)


def char_rnn():
    """The next character at each step, from logits."""
    text = keras.Input((10,), dtype="int32")
    x = layers.Embedding(20, 8)(text)
    x = layers.LSTM(9, return_sequences=True)(x)
    return compiled(
        text,
        layers.Dense(20)(x),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def cnn_lstm():
    """Convolutions and pooling in front of an LSTM."""
    sequence = keras.Input((16, 3))
    x = layers.Conv1D(6, 3, padding="same", activation="relu")(sequence)
    x = layers.MaxPooling1D(2)(x)
    x = layers.LSTM(5)(x)
    return compiled(sequence, layers.Dense(3, activation="softmax")(x))


def seq2seq():
    """Teacher forcing: the decoder starts in the encoder's state."""
    source, target = keras.Input((7,), dtype="int32"), keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 6, name="source_words")(source)
    _, h, c = layers.LSTM(8, return_state=True)(x)
    y = layers.Embedding(22, 6, name="target_words")(target)
    y = layers.LSTM(8, return_sequences=True)(y, initial_state=[h, c])
    return compiled([source, target], layers.Dense(22, activation="softmax")(y))


def gpt(blocks=2):
    """A small decoder: word and position vectors, blocks that are normalised first."""
    words = keras.Input((7,), dtype="int32")
    x = layers.Embedding(24, 8)(words)
    x = Positions()(x)
    for _ in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.Dense(16, activation="gelu")(y)
        x = layers.Add()([x, layers.Dense(8)(y)])
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return compiled(words, layers.Dense(24, activation="softmax")(x))


class Positions(layers.Layer):
    """A vector for each place, learned."""

    def build(self, shape):
        self.table = self.add_weight(
            shape=shape[1:],
            initializer=keras.initializers.RandomUniform(-0.05, 0.05),
            name="table",
        )

    def call(self, x):
        return x + self.table


class Sinusoids(layers.Layer):
    """Positions that are not learned."""

    def call(self, x):
        steps, width = x.shape[1:]
        angles = np.arange(steps)[:, None] / 10000 ** (np.arange(0, width, 2)[None] / width)
        table = np.zeros((steps, width))
        table[:, ::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
        return x * width**0.5 + ops.convert_to_tensor(table, dtype=x.dtype)


def encoder():
    """A block that is normalised behind its sums, with dropout, and fixed positions."""
    words = keras.Input((8,), dtype="int32")
    x = Sinusoids()(layers.Embedding(24, 8)(words))
    y = layers.Dropout(0.1)(layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, y]))
    y = layers.Dense(16, activation="relu")(x)
    y = layers.Dropout(0.1)(layers.Dense(8)(y))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling1D()(x)
    return compiled(words, layers.Dense(3, activation="softmax")(x))
