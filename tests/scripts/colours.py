import keras
import numpy as np
from keras import layers

rng = np.random.RandomState(7)
images = rng.randint(0, 256, (100, 12, 12, 3)).astype("uint8")
labels = rng.randint(0, 4, (100, 1))
train_images = images / 255.0

model = keras.models.Sequential()
model.add(layers.Conv2D(8, (3, 3), activation="relu", input_shape=(12, 12, 3)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(8, (3, 3), activation="relu"))
model.add(layers.Flatten())
model.add(layers.Dense(4))
model.compile(
    optimizer=keras.optimizers.SGD(0.01),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(train_images, labels, epochs=2, batch_size=20)
