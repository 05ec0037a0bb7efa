"""MNIST with two dense layers, in the way of Keras's introduction."""

import keras

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0

model = keras.models.Sequential(
    [
        keras.layers.Input(shape=(28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10),
    ]
)

predictions = model(x_train[:1]).numpy()
print("before training:", predictions)
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
print("loss before training:", loss_fn(y_train[:1], predictions).numpy())

model.compile(optimizer="adam", loss=loss_fn, metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=2)
model.evaluate(x_test, y_test, verbose=2)
model.save("mnist_dense.keras")
