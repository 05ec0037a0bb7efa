"""Originals with embeddings and recurrent layers, and of several inputs."""

import keras
import numpy as np
from keras import layers

WORDS, LENGTH = 40, 12


def sentences(words=WORDS, length=LENGTH):
    """Rows of numbers of words, the first of which stands for padding, and two classes."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, words, (150, length))
    for row, n in zip(x, rng.integers(3, length + 1, len(x)), strict=True):
        row[n:] = 0
    return x, (x.sum(axis=1) > x.sum(axis=1).mean()).astype("int64")


def compiled(model, optimizer=None, loss="binary_crossentropy"):
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def text():
    """The mean of the words' vectors, classified."""
    x, y = sentences()
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    return {"model": compiled(model), "fit": {"x": x, "y": y, "batch_size": 30}}


def text_adam():
    given = text()
    compiled(given["model"], keras.optimizers.Adam(0.002, epsilon=1e-12))
    return given


def untrained():
    given = text()
    given["model"].layers[0].trainable = False
    return given


def series(length=10, features=3):
    """Rows of numbers over time, and four classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, length, features)).astype("float32")
    return x, rng.integers(0, 4, len(x))


def classifier(*stack, **shape):
    x, y = series(**shape)
    model = keras.Sequential([keras.Input(x.shape[1:]), *stack, layers.Dense(4)])
    model = compiled(model, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30}}


def lstm():
    return classifier(layers.LSTM(5))


def dropped():
    """Of the inputs, the same in all steps."""
    return classifier(layers.LSTM(5, dropout=0.3))


def dropped_states():
    return classifier(layers.LSTM(5, recurrent_dropout=0.3))


def gru():
    return classifier(layers.GRU(5))


def simple():
    return classifier(layers.SimpleRNN(5, return_sequences=True), layers.SimpleRNN(4))


def bidirectional():
    return classifier(layers.Bidirectional(layers.LSTM(5)))


def relu():
    return classifier(layers.SimpleRNN(5, activation="relu"))


def hard():
    return classifier(layers.LSTM(5, recurrent_activation="hard_sigmoid"))


def reset_before():
    return classifier(layers.GRU(5, reset_after=False))


def stacked():
    return classifier(layers.LSTM(5, return_sequences=True), layers.Dropout(0.3), layers.LSTM(5))


def backwards():
    return classifier(layers.LSTM(5, go_backwards=True))


def summed():
    return classifier(layers.Bidirectional(layers.GRU(5), merge_mode="sum"))


def averaged():
    return classifier(layers.LSTM(5, return_sequences=True), layers.GlobalAveragePooling1D())


def no_forget_bias():
    return classifier(layers.LSTM(5, unit_forget_bias=False))


def masked(*stack, mask_zero=True):
    x, y = sentences()
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 8, mask_zero=mask_zero),
            *stack,
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    return {"model": compiled(model), "fit": {"x": x, "y": y, "batch_size": 30}}


def masked_lstm():
    return masked(layers.LSTM(6))


def masked_mean():
    return masked(layers.GlobalAveragePooling1D())


def loaded():
    """A GRU whose first weights are fixed."""
    given = classifier(layers.GRU(5))
    rng = np.random.default_rng(1)
    given["model"].layers[0].set_weights(
        [rng.normal(0, 0.3, (3, 15)), rng.normal(0, 0.3, (5, 15)), np.zeros((2, 15))]
    )
    return given


def columns():
    """Three columns of categories and one table of numbers."""
    rng = np.random.default_rng(0)
    fields = [rng.integers(0, size, (160, 1)) for size in (7, 7, 20)]
    numbers = rng.normal(size=(160, 4)).astype("float32")
    return [*fields, numbers], rng.integers(0, 2, 160).astype("float32")


def table(names=None):
    """Entity embeddings beside numbers; with names, the inputs are a dictionary."""
    x, y = columns()
    fields = [keras.Input((1,), dtype="int32", name=name) for name in "abc"]
    numbers = keras.Input((4,), name="numbers")
    parts = [
        layers.Flatten()(layers.Embedding(size, 3)(field))
        for size, field in zip((7, 7, 20), fields, strict=True)
    ]
    z = layers.Concatenate()([*parts, numbers])
    z = layers.Dense(8, activation="relu")(layers.BatchNormalization()(z))
    inputs = [*fields, numbers]
    if names:
        inputs = dict(zip(names, inputs, strict=True))
        x = dict(zip(names, x, strict=True))
    model = compiled(keras.Model(inputs, layers.Dense(1, activation="sigmoid")(z)))
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 20}}


def named_table():
    return table(["a", "b", "c", "numbers"])


def table_without_data():
    return table()["model"]


def two():
    """Two inputs of one shape, each through a layer of its own."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(160, 5)).astype("float32") for _ in range(2)]
    y = rng.integers(0, 4, 160)
    first, second = keras.Input((5,)), keras.Input((5,))
    z = layers.Concatenate()(
        [layers.Dense(6, activation="relu")(first), layers.Dense(3, activation="tanh")(second)]
    )
    model = keras.Model([first, second], layers.Dense(4)(z))
    model = compiled(model, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 20}}


def entities():
    """Embedded columns, whole vectors' features dropped."""
    (*fields, _), y = columns()
    inputs = [keras.Input((1,), dtype="int32") for _ in fields]
    parts = [
        layers.Flatten()(layers.SpatialDropout1D(0.3)(layers.Embedding(size, 3)(field)))
        for size, field in zip((7, 7, 20), inputs, strict=True)
    ]
    z = layers.Dense(1, activation="sigmoid")(layers.Concatenate()(parts))
    return {
        "model": compiled(keras.Model(inputs, z)),
        "fit": {"x": fields, "y": y, "batch_size": 20},
    }


def steps():
    rng = np.random.default_rng(5)
    return rng.normal(size=(90, 5, 6)).astype("float32"), rng.integers(0, 4, (90, 5))


def of_each_step(*layers_between):
    x, y = steps()
    model = keras.Sequential(
        [
            keras.Input((5, 6)),
            layers.TimeDistributed(layers.Dense(7, activation="tanh")),
            *layers_between,
            layers.TimeDistributed(layers.Dense(4, activation="softmax")),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30}}


def each_step():
    return of_each_step()


def normalised_at_each_step():
    return of_each_step(layers.TimeDistributed(layers.LayerNormalization()))
