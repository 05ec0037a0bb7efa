"""Networks with attention; nobody brings data."""

import keras
from keras import layers


def block(x, **mask):
    """An encoder's block: attention and two dense layers, each normalised and added."""
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x, **mask)])
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    y = layers.Dense(16, activation="relu")(x)
    x = layers.Add()([x, layers.Dense(8)(y)])
    return layers.LayerNormalization(epsilon=1e-5)(x)


def compiled(inputs, x, loss="sparse_categorical_crossentropy"):
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), loss)
    return model


def encoder():
    sequence = keras.Input((6, 8))
    return compiled(sequence, layers.GlobalAveragePooling1D()(block(sequence)))


def by_adamax():
    model = encoder()
    model.compile(keras.optimizers.Adamax(0.01), "sparse_categorical_crossentropy")
    return model


def causal():
    sequence = keras.Input((6, 8))
    return compiled(sequence, block(sequence, use_causal_mask=True))


def cross():
    """A sequence looks at a longer one; of each step, one of three classes."""
    sequence, memory = keras.Input((5, 8)), keras.Input((7, 8))
    x = layers.MultiHeadAttention(2, 4)(sequence, memory)
    return compiled([sequence, memory], layers.LayerNormalization(epsilon=1e-5)(x))


def padded():
    """The mask of an embedding goes through by itself."""
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True)(words)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    return compiled(words, layers.GlobalAveragePooling1D()(x))


def window():
    """A mask of one's own: each step sees its neighbours."""
    sequence = keras.Input((6, 8))
    steps = keras.ops.arange(6)
    near = keras.ops.abs(steps[:, None] - steps[None]) < 2
    return compiled(sequence, block(sequence, attention_mask=near[None]))


def window_inverted():
    sequence = keras.Input((6, 8))
    steps = keras.ops.arange(6)
    far = keras.ops.abs(steps[:, None] - steps[None]) >= 2
    return compiled(sequence, block(sequence, attention_mask=far[None]))


def steps_of_encoder():
    """As `causal`, without its mask."""
    sequence = keras.Input((6, 8))
    return compiled(sequence, block(sequence))
