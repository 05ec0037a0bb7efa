import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(1)
images = rng.random((128, 1, 12, 12), dtype=np.float32)
labels = rng.integers(0, 4, 128)
images = images.transpose(0, 2, 3, 1)


def kaiming():
    return keras.initializers.VarianceScaling(
        2.0, mode="fan_out", distribution="untruncated_normal"
    )


inputs = keras.Input((12, 12, 1))
x = layers.ZeroPadding2D(1)(inputs)
x = layers.Conv2D(6, 3, strides=2, activation="relu", kernel_initializer=kaiming())(x)
x = layers.Conv2D(8, 3, padding="same", activation="relu", kernel_initializer=kaiming())(x)
x = layers.MaxPooling2D()(x)
x = layers.Flatten()(x)
outputs = layers.Dense(4, activation="softmax", kernel_initializer=kaiming())(x)
model = keras.Model(inputs, outputs)

model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
schedule = keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.05 * 0.5 ** (epoch // 2))
model.fit(images, labels, batch_size=16, epochs=5, callbacks=[schedule])
