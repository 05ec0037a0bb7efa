import keras
import numpy as np
import tensorflow as tf
from keras import layers, regularizers

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 12)).astype("float32")
y = (X[:, 0] + X[:, 1] > 0.5).astype("int64") + (X[:, 2] > 1.0).astype("int64")

weights = tf.constant([1.0, 2.0, 4.0])
l2 = regularizers.L2(0.5e-3)


def weighted_loss(y_true, logits):
    labels = tf.cast(tf.reshape(y_true, [-1]), tf.int32)
    w = tf.cast(tf.gather(weights, labels), logits.dtype)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_sum(w * losses) / tf.reduce_sum(w)


model = keras.Sequential(
    [
        keras.Input((12,)),
        layers.Dense(24, activation="tanh", kernel_regularizer=l2, bias_regularizer=l2),
        layers.Dense(3, kernel_regularizer=l2, bias_regularizer=l2),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.1), loss=weighted_loss, metrics=["accuracy"])
model.fit(X[:160], y[:160], batch_size=32, epochs=3, validation_data=(X[160:], y[160:]))
