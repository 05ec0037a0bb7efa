import keras
from keras import layers
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def data():
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(x_train)
    return scaler.transform(x_train), scaler.transform(x_test), y_train, y_test


def build():
    x_train, x_test, y_train, y_test = data()
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(16, activation="relu", kernel_regularizer="l2"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return {
        "model": model,
        "loader": (x_train, y_train),
        "fit": {"batch_size": 32, "epochs": 20, "validation_data": (x_test, y_test)},
    }
