"""Originals of several kinds; some bring data of their own, some none."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def vgg():
    """Two blocks with batch normalisation and dropout, on colour images that nobody brings."""
    image = keras.Input((16, 16, 3))
    x = image
    for units in (6, 8):
        for _ in range(2):
            x = layers.Conv2D(units, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(12, activation="relu")(x)
    model = keras.Model(image, layers.Dense(5, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.05), "categorical_crossentropy")
    return model


def residual():
    image = keras.Input((12, 12, 4))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = layers.BatchNormalization()(x)
    x = layers.Add()([x, layers.Conv2D(4, 1)(image)])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.01), "mae")
    return model


def series():
    """1-D convolution over sequences, data given as arrays."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20, 3)).astype("float32")
    y = rng.integers(0, 4, 200)
    model = keras.Sequential(
        [
            keras.Input((20, 3)),
            layers.Conv1D(6, 5, strides=2, padding="same", activation="tanh"),
            layers.SpatialDropout1D(0.3),
            layers.MaxPooling1D(2),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 20}}


def autoencoder():
    """Convolutional, with a dense layer that is unfolded into maps again."""
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = layers.Flatten()(x)
    x = layers.Dense(10, activation="tanh")(x)
    x = layers.Dense(7 * 7 * 2, activation="relu")(x)
    x = layers.Reshape((7, 7, 2))(x)
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="relu")(x)
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    model = keras.Model(image, x)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def enlarged():
    """An autoencoder whose transposed convolutions double the size of their maps."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(4, 2, strides=2, activation="relu"),
            layers.Conv2D(6, 2, strides=2, activation="relu"),
            layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def strongest():
    """Of each map, the largest number."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def causal():
    """Dilated convolutions that look back only, over the rows of `series`."""
    rows = series()["fit"]
    model = keras.Sequential(
        [
            keras.Input((20, 3)),
            layers.Conv1D(6, 3, padding="causal", activation="relu"),
            layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return {"model": model, "fit": rows}


def table():
    """Rows of a table."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 7)).astype("float32")
    return x, (x @ rng.normal(size=7) + rng.normal(size=160)).astype("float32")


def regression(activation="relu", loss="mse", penalty=None):
    x, y = table()
    both = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
    model = keras.Sequential(
        [keras.Input((7,)), layers.Dense(9, activation, **both), layers.Dense(1, **both)]
    )
    model.compile(keras.optimizers.SGD(0.01), loss)
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}


def regression_tanh():
    return regression("tanh")


def regression_absolute():
    return regression(loss="mae")


def regression_penalised():
    return regression(penalty=keras.regularizers.L2(0.05))


def regression_penalised_twice():
    return regression(penalty=keras.regularizers.L2(0.1))


def standardised():
    """Its model brings its features to mean 0 and deviation 1."""
    x, y = table()
    first = layers.Normalization()
    first.adapt(3 * x + 1)
    model = keras.Sequential([keras.Input((7,)), first, layers.Dense(9, "relu"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return {"model": model, "fit": {"x": 3 * x + 1, "y": y, "batch_size": 16}}


class ByHand(keras.Model):
    """Makes its gradients itself."""

    def __init__(self, net, factor):
        super().__init__()
        self.net, self.factor = net, factor

    def call(self, x, training=False):
        return self.net(x, training=training)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        made = [self.factor * gradient for gradient in gradients]
        self.optimizer.apply_gradients(zip(made, self.trainable_variables, strict=True))
        return {"loss": loss}


def regression_by_hand(factor=1.0):
    given = regression()
    made = ByHand(given["model"], factor)
    made.compile(given["model"].optimizer, given["model"].loss)
    return {**given, "model": made}


def regression_halved():
    return regression_by_hand(0.5)


def huber():
    x, y = table()
    model = keras.Sequential(
        [keras.Input((7,)), layers.Dense(9, activation="selu"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.01), keras.losses.Huber(delta=0.5))
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}


def binary():
    x, y = table()
    model = keras.Sequential(
        [
            keras.Input((7,)),
            layers.Dense(9, activation="elu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adadelta(0.5), "binary_crossentropy")
    return {"model": model, "fit": {"x": x, "y": (y > 0).astype("float32"), "batch_size": 16}}
