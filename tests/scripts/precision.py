import numpy as np
import tensorflow as tf

tf.keras.utils.set_random_seed(42)
rng = np.random.RandomState(42)
x = rng.rand(320, 8, 8, 1).astype(np.float32)
y = (x.mean(axis=(1, 2, 3)) * 40).astype(int) % 4

inputs = tf.keras.Input((8, 8, 1))
h = tf.keras.layers.Conv2D(8, 3, activation="relu")(inputs)
h = tf.keras.layers.MaxPooling2D()(h)
h = tf.keras.layers.Flatten()(h)
outputs = tf.keras.layers.Dense(4)(h)
model = tf.keras.Model(inputs, outputs)
optimizer = tf.keras.optimizers.SGD(0.1)
loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
train_acc = tf.keras.metrics.SparseCategoricalAccuracy()
dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(320).batch(32)


@tf.function
def train_step(xb, yb):
    with tf.GradientTape() as tape:
        logits = model(xb, training=True)
        loss = loss_fn(yb, logits)
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))
    train_acc.update_state(yb, logits)
    return loss


EPOCHS = 3
for epoch in range(EPOCHS):
    train_acc.reset_state()
    for step, (xb, yb) in enumerate(dataset):
        loss = train_step(xb, yb)
        if step % 5 == 0:
            print(f"epoch {epoch} step {step} loss {float(loss):.4f}")
    print(f"accuracy {float(train_acc.result()):.4f}")
