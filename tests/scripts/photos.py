"""Colour photographs in ten classes, in the functional style; the pictures are made on the spot."""

import keras
import numpy as np
from keras import layers

rng = np.random.RandomState(0)
images = rng.randint(0, 256, (480, 32, 32, 3)).astype("uint8")
labels = rng.randint(0, 10, (480, 1))
train_images, test_images = images[:400], images[400:]
train_labels, test_labels = labels[:400], labels[400:]

# Normalize pixel values to be between 0 and 1
train_images, test_images = train_images / 255.0, test_images / 255.0

inputs = keras.Input((32, 32, 3))
x = layers.Conv2D(8, (3, 3), padding="same", use_bias=False)(inputs)
x = layers.BatchNormalization()(x)
x = layers.Activation("relu")(x)
x = layers.MaxPooling2D((2, 2))(x)
x = layers.Conv2D(16, (3, 3), strides=2, activation="relu")(x)
x = layers.GlobalAveragePooling2D()(x)
x = layers.Dense(24, activation="relu")(x)
outputs = layers.Dense(10)(x)
model = keras.Model(inputs, outputs, name="photos")

model.compile(
    optimizer=keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
callbacks = [keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True)]
history = model.fit(
    train_images,
    train_labels,
    batch_size=40,
    epochs=3,
    validation_data=(test_images, test_labels),
    callbacks=callbacks,
)
print(history.history["val_accuracy"])
