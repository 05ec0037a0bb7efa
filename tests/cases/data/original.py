"""One network in Keras, and the ways in which it gets its rows."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.model_selection import train_test_split

from mnist_mlp.data import load_dataset

DATA = load_dataset()
IMAGES, LABELS = DATA.images[:4000], DATA.labels[:4000].astype("int64")
TEST_IMAGES, TEST_LABELS = DATA.images[60000:61000], DATA.labels[60000:61000].astype("int64")

X, Y = IMAGES.reshape(-1, 784).astype("float32") / 255, LABELS
X_TEST, Y_TEST = TEST_IMAGES.reshape(-1, 784).astype("float32") / 255, TEST_LABELS


def network(*first, shape=(784,), rate=0.1, loss="sparse_categorical_crossentropy"):
    model = keras.Sequential(
        [
            keras.Input(shape),
            *first,
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(rate), loss=loss, metrics=["accuracy"])
    return model


def arrays():
    return {
        "model": network(),
        "loader": (X, Y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (X_TEST, Y_TEST)},
    }


def fit_arrays():
    return {
        "model": network(),
        "fit": {
            "x": X,
            "y": Y,
            "batch_size": 64,
            "epochs": 3,
            "validation_data": (X_TEST, Y_TEST),
        },
    }


def no_data():
    return {"model": network(), "fit": {"batch_size": 64, "epochs": 3}}


def cached():
    (x, y), (x_test, y_test) = keras.datasets.mnist.load_data()
    x, x_test = (part.reshape(-1, 784).astype("float32") / 255 for part in (x, x_test))
    return {
        "model": network(),
        "loader": (x[:4000], y[:4000]),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (x_test[:1000], y_test[:1000])},
    }


def own_split():
    x_train, x_val, y_train, y_val = train_test_split(
        X, Y, test_size=0.25, random_state=1, stratify=Y
    )
    return {
        "model": network(),
        "loader": (x_train, y_train),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (x_val, y_val)},
    }


def validation_split():
    return {
        "model": network(),
        "loader": (X, Y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_split": 0.2},
    }


def oversampled():
    """The eights are too often mistaken: they are shown twice."""
    rare = Y == 8
    x, y = np.concatenate([X, X[rare]]), np.concatenate([Y, Y[rare]])
    return {
        "model": network(),
        "loader": (x, y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (X_TEST, Y_TEST)},
    }


def unshuffled():
    return {
        "model": network(),
        "loader": (X, Y),
        "fit": {
            "batch_size": 64,
            "epochs": 3,
            "shuffle": False,
            "validation_data": (X_TEST, Y_TEST),
        },
    }


def pipeline(*, again=True, whole=False):
    train = tf.data.Dataset.from_tensor_slices((X, Y))
    train = train.shuffle(4000, reshuffle_each_iteration=again)
    train = train.batch(64, drop_remainder=whole).prefetch(tf.data.AUTOTUNE)
    test = tf.data.Dataset.from_tensor_slices((X_TEST, Y_TEST)).batch(64)
    return {"model": network(), "loader": train, "fit": {"epochs": 3, "validation_data": test}}


def tf_data():
    return pipeline()


def tf_data_shuffled_once():
    return pipeline(again=False)


def tf_data_whole_batches():
    return pipeline(whole=True)


def raw_pixels():
    """Grey values as they are in the files, and a rate to go with them."""
    x, x_test = X * 255, X_TEST * 255
    return {
        "model": network(rate=1e-4),
        "loader": (x, Y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (x_test, Y_TEST)},
    }


def rescaling():
    """Grey values in the arrays; the model divides."""
    x, x_test = IMAGES.reshape(-1, 784), TEST_IMAGES.reshape(-1, 784)
    return {
        "model": network(layers.Rescaling(1 / 255)),
        "loader": (x.astype("float32"), Y),
        "fit": {
            "batch_size": 64,
            "epochs": 3,
            "validation_data": (x_test.astype("float32"), Y_TEST),
        },
    }


def one_hot():
    y, y_test = (keras.utils.to_categorical(part, 10) for part in (Y, Y_TEST))
    return {
        "model": network(loss="categorical_crossentropy"),
        "loader": (X, y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (X_TEST, y_test)},
    }


def float64():
    x, x_test = IMAGES.reshape(-1, 784) / 255.0, TEST_IMAGES.reshape(-1, 784) / 255.0
    return {
        "model": network(),
        "loader": (x, Y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (x_test, Y_TEST)},
    }


def images():
    """Channels last."""
    x, x_test = X.reshape(-1, 28, 28, 1), X_TEST.reshape(-1, 28, 28, 1)
    return {
        "model": network(layers.Flatten(), shape=(28, 28, 1)),
        "loader": (x, Y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (x_test, Y_TEST)},
    }


def two_labels():
    """Two people labelled these twenty images, and did not agree."""
    x, y = np.concatenate([X, X[:20]]), np.concatenate([Y, (Y[:20] + 1) % 10])
    return {
        "model": network(),
        "loader": (x, y),
        "fit": {"batch_size": 64, "epochs": 3, "validation_data": (X_TEST, Y_TEST)},
    }
