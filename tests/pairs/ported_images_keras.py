"""Originals for images, as their papers' networks are written in Keras. Nobody brings images."""

import keras
from keras import layers


def compiled(image, x, *, classes=3):
    model = keras.Model(image, layers.Dense(classes, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    return model


def densenet():
    """A dense block: each layer gets the maps of all layers before it; then a transition."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    for _ in range(3):
        y = layers.BatchNormalization(epsilon=1.001e-5)(x)
        y = layers.Activation("relu")(y)
        y = layers.Conv2D(4, 3, padding="same", use_bias=False)(y)
        x = layers.Concatenate()([x, y])
    x = layers.BatchNormalization(epsilon=1.001e-5)(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2D(10, 1, use_bias=False)(x)
    x = layers.AveragePooling2D(2, strides=2)(x)
    return compiled(image, layers.GlobalAveragePooling2D()(x))


def mobilenet_v2():
    """Inverted residuals, the second with a connection around it."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(x)
    x = layers.ReLU(6.0)(x)
    for stride in (2, 1):
        y = layers.Conv2D(16, 1, use_bias=False)(x)
        y = layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(y)
        y = layers.ReLU(6.0)(y)
        if stride == 2:
            y = layers.ZeroPadding2D(((0, 1), (0, 1)))(y)
        y = layers.DepthwiseConv2D(
            3, strides=stride, padding="same" if stride == 1 else "valid", use_bias=False
        )(y)
        y = layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(y)
        y = layers.ReLU(6.0)(y)
        y = layers.Conv2D(8, 1, use_bias=False)(y)
        y = layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(y)
        x = layers.Add()([x, y]) if stride == 1 else y
    return compiled(image, layers.GlobalAveragePooling2D()(x))


def inception():
    """Four branches side by side."""
    image = keras.Input((10, 10, 3))
    a = layers.Conv2D(4, 1, activation="relu")(image)
    b = layers.Conv2D(3, 1, activation="relu")(image)
    b = layers.Conv2D(5, 3, padding="same", activation="relu")(b)
    c = layers.Conv2D(2, 1, activation="relu")(image)
    c = layers.Conv2D(3, 5, padding="same", activation="relu")(c)
    d = layers.MaxPooling2D(3, strides=1, padding="same")(image)
    d = layers.Conv2D(2, 1, activation="relu")(d)
    x = layers.Concatenate()([a, b, c, d])
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.Flatten()(x)
    return compiled(image, layers.Dropout(0.4)(x))


def unet():
    """Two levels, each joined again by a transposed convolution; of each pixel yes or no."""

    def block(x, width):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        return x

    image = keras.Input((16, 16, 1))
    first = block(image, 4)
    second = block(layers.MaxPooling2D(2)(first), 6)
    bottom = block(layers.MaxPooling2D(2)(second), 8)
    x = layers.Conv2DTranspose(6, 2, strides=2, padding="same")(bottom)
    x = block(layers.concatenate([x, second]), 6)
    x = layers.Conv2DTranspose(4, 2, strides=2, padding="same")(x)
    x = block(layers.concatenate([x, first]), 4)
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), "binary_crossentropy")
    return model


def segnet():
    """Upsampling by bilinear interpolation, and a class for each pixel."""
    image = keras.Input((12, 12, 3))
    x = image
    for width in (4, 6):
        x = layers.Conv2D(width, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D(2)(x)
    for width in (6, 4):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Conv2D(width, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    model = keras.Model(image, layers.Conv2D(5, 1, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    return model


def resnext():
    """A bottleneck whose middle convolution has groups."""
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 1, use_bias=False)(image)
    y = layers.BatchNormalization()(x)
    y = layers.ReLU()(y)
    y = layers.Conv2D(8, 3, padding="same", groups=4, use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(8, 1)(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    return compiled(image, layers.GlobalAveragePooling2D()(x))


class LayerScale(layers.Layer):
    """A factor for each channel, which is learned."""

    def __init__(self, initial, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, shape):
        self.gamma = self.add_weight(
            name="gamma",
            shape=(shape[-1],),
            initializer=keras.initializers.Constant(self.initial),
        )

    def call(self, x):
        return x * self.gamma


def convnext(initial=0.1):
    """A block with layer normalisation over channels, and a scale of its own."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 2, strides=2)(image)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.DepthwiseConv2D(7, padding="same")(x)
    y = layers.LayerNormalization(epsilon=1e-6)(y)
    y = layers.Dense(32, activation="gelu")(y)
    y = layers.Dense(8)(y)
    y = LayerScale(initial)(y)
    x = layers.Add()([x, y])
    return compiled(image, layers.GlobalAveragePooling2D()(x))


def grouped_norms():
    """Group normalisation, instance normalisation, and activations that are newer."""
    image = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3)(image)
    x = layers.GroupNormalization(4, epsilon=1e-5)(x)
    x = layers.Activation("hard_swish")(x)
    x = layers.Conv2D(8, 3)(x)
    x = layers.GroupNormalization(groups=-1, epsilon=1e-5)(x)
    x = layers.Activation("mish")(x)
    x = layers.concatenate([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    return compiled(image, layers.Dense(6, activation="selu")(x))


class Patches(layers.Layer):
    """A class token in front of the patches, and a position for each of them, all learned."""

    def build(self, shape):
        _, count, width = shape
        self.token = self.add_weight(name="token", shape=(1, 1, width), initializer="zeros")
        self.position = self.add_weight(
            name="position",
            shape=(1, count + 1, width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )

    def call(self, x):
        token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([token, x], axis=1) + self.position


def vit():
    """One block of a vision transformer, which is normalised first."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 4, strides=4)(image)
    x = layers.Reshape((4, 8))(x)
    x = Patches()(x)
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(16, activation="gelu")(y)
    x = layers.Add()([x, layers.Dense(8)(y)])
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return compiled(image, x[:, 0])
