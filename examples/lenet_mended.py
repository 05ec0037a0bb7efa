"""The port of `lenet_keras.py` with its five faults mended.

python -m mnist_mlp check examples/lenet_keras.py:build examples/lenet_mended.py:MendedLeNet
"""

from __future__ import annotations

import lightning as L
from lenet_port import LeNetPort, train
from torch import nn


class MendedLeNet(LeNetPort):
    """What Keras does by default, said to torch."""

    def __init__(self) -> None:
        super().__init__()
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.eps = 1e-3  # torch: 1e-5
                layer.momentum = 0.01  # torch: 0.1; Keras's 0.99 is the share of the old mean
            elif isinstance(layer, nn.Dropout):
                layer.p = 0.25  # the share that is dropped, in both
        self.classifier[-1] = nn.Identity()  # the softmax is within the loss


if __name__ == "__main__":
    L.seed_everything(42, verbose=False)
    train(MendedLeNet(), name="mended")
