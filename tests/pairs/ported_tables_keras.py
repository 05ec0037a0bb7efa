"""Originals for tables and pairs of things, with losses and layers that people write themselves."""

import keras
import numpy as np
from keras import layers, ops


def numbers(rows=120, columns=6):
    """Rows of a table with a number each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns)).astype("float32")
    y = (x @ rng.normal(size=columns) + rng.normal(size=rows)).astype("float32")
    return x, y[:, None]


def fitted(model, **arguments):
    x, y = numbers()
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16, **arguments}}


def ncf():
    """Neural collaborative filtering: a product of two vectors, and dense layers."""
    user, item = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    u, v = (layers.Flatten()(layers.Embedding(n, 5)(ids)) for n, ids in ((30, user), (40, item)))
    product = layers.Dot(axes=1)([u, v])
    h = layers.Dense(6, activation="relu")(layers.Concatenate()([u, v]))
    score = layers.Dense(1, activation="sigmoid")(layers.Concatenate()([product, h]))
    model = keras.Model([user, item], score)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def wide_and_deep():
    """As the book has it: the input goes around the hidden layers."""
    table = keras.Input((6,))
    deep = layers.Dense(8, activation="relu")(table)
    deep = layers.Dense(7, activation="relu")(deep)
    model = keras.Model(table, layers.Dense(1)(layers.concatenate([table, deep])))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return fitted(model)


class Factorisation(layers.Layer):
    """A factorisation machine with weights of its own."""

    def build(self, shape):
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")
        self.linear = self.add_weight(name="linear", shape=(shape[-1], 1), initializer="zeros")
        self.factors = self.add_weight(
            name="factors",
            shape=(shape[-1], 3),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
        )

    def call(self, x):
        squares = ops.square(ops.matmul(x, self.factors))
        own = ops.matmul(ops.square(x), ops.square(self.factors))
        pairs = 0.5 * ops.sum(squares - own, axis=1, keepdims=True)
        return self.bias + ops.matmul(x, self.linear) + pairs


def factorisation():
    model = keras.Sequential([keras.Input((6,)), Factorisation()])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return fitted(model)


class DeepSets(keras.Model):
    """A subclassed model: the mean over a set."""

    def __init__(self):
        super().__init__()
        self.each = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(5, "relu")])
        self.whole = keras.Sequential([layers.Dense(6, "relu"), layers.Dense(3, "softmax")])

    def call(self, x):
        return self.whole(ops.mean(self.each(x), axis=1))


def deep_sets():
    rng = np.random.default_rng(0)
    model = DeepSets()
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x = rng.normal(size=(90, 7, 4)).astype("float32")
    return {"model": model, "fit": {"x": x, "y": rng.integers(0, 3, 90), "batch_size": 16}}


def siamese():
    """One tower for both, and the absolute difference by a Lambda layer."""
    a, b = keras.Input((6,)), keras.Input((6,))
    tower = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(5)])
    apart = layers.Lambda(lambda both: ops.abs(both[0] - both[1]))([tower(a), tower(b)])
    model = keras.Model([a, b], layers.Dense(1, activation="sigmoid")(apart))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


class Sampling(layers.Layer):
    """Draws a code, and adds the divergence to the loss."""

    def __init__(self, factor=0.1, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, both):
        mean, log_var = both
        divergence = -0.5 * ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var), axis=1)
        self.add_loss(self.factor * ops.mean(divergence))
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_var) * noise


def vae():
    x, _ = numbers()
    table = keras.Input((6,))
    h = layers.Dense(8, activation="relu")(table)
    code = Sampling()([layers.Dense(2, name="mean")(h), layers.Dense(2, name="log_var")(h)])
    h = layers.Dense(8, activation="relu")(code)
    model = keras.Model(table, layers.Dense(6)(h))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return {"model": model, "fit": {"x": x, "y": x, "batch_size": 16}}


def regressor(loss, **arguments):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.05), loss)
    return fitted(model, **arguments)


def quantile():
    """The pinball loss of the ninth decile."""

    def pinball(y, p):
        return ops.mean(ops.maximum(0.9 * (y - p), -0.1 * (y - p)), axis=-1)

    return regressor(pinball)


def log_cosh():
    return regressor(keras.losses.LogCosh())


def sample_weights():
    x, _ = numbers()
    weights = np.where(x[:, 0] > 0, 2.0, 0.5).astype("float32")
    return regressor("mse", sample_weight=weights)


def mask_of(size=8):
    """Pictures with a mask each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, size, size, 1)).astype("float32")
    return x, (x > 0.5).astype("float32")


def segmenter(loss):
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(keras.optimizers.SGD(0.1), loss)
    x, y = mask_of()
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 8}}


def dice():
    def loss(y, p):
        shared = ops.sum(y * p, axis=(1, 2, 3))
        both = ops.sum(y, axis=(1, 2, 3)) + ops.sum(p, axis=(1, 2, 3))
        return 1 - (2 * shared + 1) / (both + 1)

    return segmenter(loss)


def focal():
    return segmenter(keras.losses.BinaryFocalCrossentropy(gamma=2.0, apply_class_balancing=False))


def classes():
    x, y = numbers()
    return x, np.digitize(y[:, 0], [-1.0, 1.0])


def classifier(*body, loss="sparse_categorical_crossentropy", optimizer=None, **arguments):
    model = keras.Sequential([keras.Input((6,)), *body, layers.Dense(3, activation="softmax")])
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss)
    x, y = classes()
    if loss != "sparse_categorical_crossentropy":
        y = keras.utils.to_categorical(y, 3)
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16, **arguments}}


def smoothed():
    return classifier(
        layers.LayerNormalization(),
        layers.Dense(7, "relu"),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    )


def weighted_classes():
    return classifier(
        layers.LayerNormalization(), layers.Dense(7, "relu"), class_weight={0: 1.0, 1: 2.0, 2: 0.5}
    )


def self_normalising():
    """SELU and its dropout, from LeCun's normal numbers."""
    return classifier(
        layers.Dense(8, activation="selu", kernel_initializer="lecun_normal"),
        layers.AlphaDropout(0.1),
        layers.Dense(7, activation="selu", kernel_initializer="lecun_normal"),
    )


class RMSNorm(layers.Layer):
    """Divides by the root of the mean square."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x / ops.sqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6) * self.scale


def rms_norm():
    return classifier(layers.Dense(8), RMSNorm(), layers.Activation("silu"))


class Linear(layers.Layer):
    """The guide's own dense layer."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(
            name="w", shape=(shape[-1], self.units), initializer="glorot_uniform"
        )
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")

    def call(self, x):
        return ops.matmul(x, self.w) + self.b


def own_dense():
    return classifier(Linear(8), layers.LayerNormalization(), layers.Activation("relu"))


def nested():
    """A model within a model, and a layer that scales."""
    inner = keras.Sequential([layers.Dense(8, "relu"), layers.LayerNormalization()], name="inner")
    table = keras.Input((6,))
    x = inner(layers.Rescaling(0.5, offset=0.1)(table))
    x = keras.Model(table, layers.Dense(5, "relu")(x), name="encoder")
    outer = keras.Input((6,))
    model = keras.Model(outer, layers.Dense(3, activation="softmax")(x(outer)))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = classes()
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}


class Tied(keras.Model):
    """An autoencoder whose decoder has the encoder's kernel, turned."""

    def __init__(self):
        super().__init__()
        self.encoder = layers.Dense(4, activation="tanh")
        self.offset = self.add_weight(name="offset", shape=(6,), initializer="zeros")

    def call(self, x):
        return ops.matmul(self.encoder(x), ops.transpose(self.encoder.kernel)) + self.offset


def tied():
    x, _ = numbers()
    model = Tied()
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return {"model": model, "fit": {"x": x, "y": x, "batch_size": 16}}


def cosine_similarity():
    x, _ = numbers()
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "tanh"), layers.Dense(6)])
    model.compile(keras.optimizers.SGD(0.05), keras.losses.CosineSimilarity())
    return {"model": model, "fit": {"x": x, "y": x[:, ::-1].copy(), "batch_size": 16}}
