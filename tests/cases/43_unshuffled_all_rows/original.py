import tensorflow as tf

from mnist_mlp.data import load_dataset


def build():
    data = load_dataset()
    images, labels = data.images[:4000], data.labels[:4000]
    train = (
        tf.data.Dataset.from_tensor_slices((images, labels))
        .map(lambda x, y: (tf.reshape(tf.cast(x, tf.float32) / 255.0, (784,)), y))
        .cache()
        .shuffle(4000)
        .batch(64)
        .prefetch(tf.data.AUTOTUNE)
    )
    model = tf.keras.models.Sequential(
        [
            tf.keras.layers.Input((784,)),
            tf.keras.layers.Dense(32, activation="relu"),
            tf.keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=tf.keras.optimizers.SGD(0.1),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )
    return {"model": model, "loader": train, "fit": {"epochs": 3}}
