"""Running a user's LightningModule: `host` is `mnist_mlp.ports.protocol.PortHost` for torch."""
