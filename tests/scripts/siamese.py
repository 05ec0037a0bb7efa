import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from tensorflow.keras import Model, layers

digits = load_digits()
images = digits.images[:300].astype("float32") / 16.0
labels = digits.target[:300]


def make_pairs(x, y, seed=0):
    rng = np.random.RandomState(seed)
    a, b, t = [], [], []
    for _i in range(200):
        p, q = rng.randint(0, len(x), 2)
        a.append(x[p])
        b.append(x[q])
        t.append(float(y[p] == y[q]))
    return np.array(a)[..., None], np.array(b)[..., None], np.array(t, "float32")


def base_network():
    inp = layers.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, activation="relu")(inp)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(16, activation="relu")(x)
    return Model(inp, x)


def euclidean_distance(vects):
    x, y = vects
    s = tf.reduce_sum(tf.square(x - y), axis=1, keepdims=True)
    return tf.sqrt(tf.maximum(s, 1e-7))


def contrastive_loss(y_true, y_pred):
    margin = 1.0
    y_true = tf.cast(y_true, y_pred.dtype)
    return tf.reduce_mean(
        y_true * tf.square(y_pred) + (1 - y_true) * tf.square(tf.maximum(margin - y_pred, 0))
    )


a, b, t = make_pairs(images, labels)
base = base_network()
in_a, in_b = layers.Input((8, 8, 1)), layers.Input((8, 8, 1))
dist = layers.Lambda(euclidean_distance, output_shape=(1,))([base(in_a), base(in_b)])
model = Model([in_a, in_b], dist)
model.compile(loss=contrastive_loss, optimizer=tf.keras.optimizers.SGD(0.05))
model.fit([a, b], t, batch_size=20, epochs=3)
