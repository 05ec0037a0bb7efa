"""Running a user's Keras model: `host` is `mnist_mlp.ports.protocol.PortHost` for Keras."""
