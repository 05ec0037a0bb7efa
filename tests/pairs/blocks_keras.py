"""Originals of building blocks that the two frameworks write with other layers."""

import keras
import numpy as np
from keras import layers


def mobile():
    """A separable convolution, squeeze and excitation by dense layers, learned slopes, and an
    activation that is a layer within a layer. Nobody brings images."""
    image = keras.Input((12, 12, 3))
    x = layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.BatchNormalization()(x)
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Dense(4, activation="relu")(s)
    s = layers.Dense(8, activation="sigmoid")(s)
    x = layers.Multiply()([x, layers.Reshape((1, 1, 8))(s)])
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(6, activation=layers.LeakyReLU(0.1))(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    return model


def words():
    """Sentences by convolutions of three widths side by side."""
    tokens = keras.Input((12,), dtype="int32")
    vectors = layers.Embedding(30, 5)(tokens)
    found = [
        layers.GlobalMaxPooling1D()(layers.Conv1D(4, width, activation="relu")(vectors))
        for width in (2, 3, 4)
    ]
    scores = layers.Dense(3, activation="softmax")(layers.concatenate(found))
    model = keras.Model(tokens, scores)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def penalised():
    """L2 penalties on some kernels."""
    penalty = keras.regularizers.L2(0.01)
    model = keras.Sequential(
        [
            keras.Input((7,)),
            layers.Dense(9, activation="tanh", kernel_regularizer=penalty),
            layers.Dense(5, activation="softplus", kernel_regularizer=penalty),
            layers.Dense(2, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    return model


def twins():
    """Two images, one tower."""
    images = [keras.Input((8, 8, 1)) for _ in range(2)]
    tower = keras.Sequential(
        [layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(5)]
    )
    apart = layers.Subtract()([tower(image) for image in images])
    model = keras.Model(images, layers.Dense(1, activation="sigmoid")(apart))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def painted():
    """A picture for each picture, under a loss that wants both in one shape."""
    image = keras.Input((8, 8, 2))
    x = layers.ZeroPadding2D(1)(image)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(keras.optimizers.SGD(0.1, clipnorm=0.05), "binary_crossentropy")
    return model


def features():
    """Rows of a table whose columns have other scales, and classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)) * [1, 10, 0.1, 5, 2, 30] + [0, 5, 1, -3, 2, 100]
    return x.astype("float32"), rng.integers(0, 3, 80)


def standardised():
    """The model standardises its features itself."""
    x, y = features()
    first = layers.Normalization()
    first.adapt(x)
    model = keras.Sequential(
        [keras.Input((6,)), first, layers.Dense(5, "tanh"), layers.Dense(3, "softmax")]
    )
    model.compile(keras.optimizers.RMSprop(0.01), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}
