"""A small U-Net for blobs, functional."""

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers


def blobs(n, size=16, seed=0):
    rng = np.random.RandomState(seed)
    images = rng.rand(n, size, size, 1).astype("float32") * 0.5
    masks = np.zeros((n, size, size, 1), "float32")
    for i in range(n):
        r, c = rng.randint(2, size - 6, 2)
        masks[i, r : r + 5, c : c + 4] = 1
    return images + 0.5 * masks, masks


def conv_block(x, filters):
    x = layers.Conv2D(
        filters, 3, padding="same", activation="relu", kernel_initializer="he_normal"
    )(x)
    return layers.Conv2D(
        filters, 3, padding="same", activation="relu", kernel_initializer="he_normal"
    )(x)


def get_unet(shape=(16, 16, 1)):
    inputs = keras.Input(shape)
    c1 = conv_block(inputs, 4)
    p1 = layers.MaxPooling2D(2)(c1)
    c2 = conv_block(p1, 8)
    u1 = layers.UpSampling2D(2, interpolation="bilinear")(c2)
    m1 = layers.concatenate([u1, c1])
    c3 = conv_block(m1, 4)
    outputs = layers.Conv2D(1, 1, activation="sigmoid")(c3)
    return keras.Model(inputs, outputs)


keras.utils.set_random_seed(0)
images, masks = blobs(120)
ds = tf.data.Dataset.from_tensor_slices((images[:96], masks[:96]))
ds = ds.shuffle(96).batch(8).prefetch(tf.data.AUTOTUNE)
val = tf.data.Dataset.from_tensor_slices((images[96:], masks[96:])).batch(8)

model = get_unet()
model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(ds, validation_data=val, epochs=3)
