from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from tensorflow import keras
from tensorflow.keras import regularizers

X, y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X).astype("float32")
model = keras.Sequential(
    [
        keras.layers.Input((13,)),
        keras.layers.Dense(16, activation="relu", kernel_regularizer=regularizers.l1(1e-3)),
        keras.layers.Dense(3, kernel_regularizer=regularizers.l1(1e-3)),
        keras.layers.Softmax(),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="sparse_categorical_crossentropy")
model.fit(X, y, batch_size=16, epochs=4)
