from sklearn.datasets import load_diabetes
from tensorflow import keras

X, y = load_diabetes(return_X_y=True)
X = X[:300].astype("float32") * 20
y = (y[:300] / 100).astype("float32")
inp = keras.Input((10,))
h = inp
for units in (16, 8):
    h = keras.layers.Dense(units, activation="relu")(h)
out = keras.layers.Dense(1)(h)
model = keras.Model(inp, out)
model.compile(keras.optimizers.SGD(0.01), "mae")
model.fit(X, y, batch_size=30, epochs=3)
