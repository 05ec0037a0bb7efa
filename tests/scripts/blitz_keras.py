"""The same in Keras."""

import keras
from keras import layers
from keras.initializers import VarianceScaling

(x_train, y_train), _ = keras.datasets.mnist.load_data()
x_train = (x_train[..., None].astype("float32") / 255 - 0.5) / 0.5

# As torch draws them: uniform within 1 / sqrt(inputs), biases too
start = VarianceScaling(1 / 3, "fan_in", "uniform")


class Bias(keras.initializers.Initializer):
    def __init__(self, inputs):
        self.inputs = inputs

    def __call__(self, shape, dtype=None, **kwargs):
        bound = self.inputs**-0.5
        return keras.random.uniform(shape, -bound, bound, dtype=dtype)


model = keras.Sequential([keras.Input((28, 28, 1))])
model.add(
    layers.Conv2D(4, 5, activation="relu", kernel_initializer=start, bias_initializer=Bias(25))
)
model.add(layers.MaxPooling2D())
model.add(
    layers.Conv2D(8, 5, activation="relu", kernel_initializer=start, bias_initializer=Bias(100))
)
model.add(layers.MaxPooling2D())
model.add(layers.Flatten())
model.add(layers.Dense(30, activation="relu", kernel_initializer=start, bias_initializer=Bias(128)))
model.add(layers.Dense(10, kernel_initializer=start, bias_initializer=Bias(30)))

model.compile(
    keras.optimizers.SGD(0.001, momentum=0.9),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x_train, y_train, batch_size=20, epochs=2)
model.save_weights("blitz.weights.h5")
