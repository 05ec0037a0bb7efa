import math

import keras
import numpy as np
import tensorflow as tf

EPOCHS, BATCH = 4, 20
rng = np.random.default_rng(8)
X = rng.normal(size=(120, 10)).astype("float32")
y = rng.integers(0, 3, 120)


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Cosine one cycle, as torch's OneCycleLR."""

    def __init__(self, max_lr, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
        self.max_lr, self.total = max_lr, total_steps
        self.initial = max_lr / div_factor
        self.minimum = self.initial / final_div_factor
        self.up = pct_start * total_steps - 1

    def __call__(self, step):
        step = tf.cast(step, "float32")
        down = self.total - 1 - self.up

        def cos(a, b, pct):
            return b + (a - b) / 2.0 * (tf.cos(math.pi * pct) + 1)

        return tf.where(
            step <= self.up,
            cos(self.initial, self.max_lr, step / self.up),
            cos(self.max_lr, self.minimum, (step - self.up) / down),
        )


steps = EPOCHS * math.ceil(100 / BATCH)
model = keras.Sequential(
    [
        keras.layers.Input((10,)),
        keras.layers.Dense(32, activation="relu", kernel_initializer="he_uniform"),
        keras.layers.Dense(3, kernel_initializer="he_uniform"),
    ]
)
model.compile(
    optimizer=keras.optimizers.SGD(OneCycle(0.2, steps)),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(X[:100], y[:100], epochs=EPOCHS, batch_size=BATCH, validation_data=(X[100:], y[100:]))
