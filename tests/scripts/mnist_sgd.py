"""Three dense layers of sigmoids, as the oldest tutorials have them."""

from keras import layers, models, optimizers
from keras.datasets import mnist
from keras.utils import to_categorical

(train_images, train_labels), (test_images, test_labels) = mnist.load_data()
train_images = train_images.reshape(-1, 28 * 28).astype("float32") / 255
test_images = test_images.reshape(-1, 28 * 28).astype("float32") / 255
train_labels = to_categorical(train_labels, 10)
test_labels = to_categorical(test_labels, 10)

network = models.Sequential()
network.add(layers.Input((28 * 28,)))
network.add(layers.Dense(32, activation="sigmoid"))
network.add(layers.Dense(16, activation="sigmoid"))
network.add(layers.Dense(10, activation="softmax"))
network.summary()

network.compile(
    optimizer=optimizers.SGD(learning_rate=0.1),
    loss="categorical_crossentropy",
    metrics=["accuracy"],
)
history = network.fit(
    train_images, train_labels, epochs=2, batch_size=50, validation_data=(test_images, test_labels)
)
test_loss, test_acc = network.evaluate(test_images, test_labels)
print("test accuracy:", test_acc)
