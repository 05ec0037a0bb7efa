"""Load an exported model in a separate process and predict with it.

    python reload.py FORMAT FILE PIXELS.npy LOGITS.npy

This file imports nothing from `mnist_mlp`, because an exported model must work without it.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np


def keras_logits(file: Path, pixels: Any) -> Any:
    """Logits (n, classes) of a `.keras` file."""
    import os

    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    model = keras.saving.load_model(file)
    logits = keras.Model(model.inputs, model.get_layer("logits").output)
    return logits.predict(pixels, batch_size=2048, verbose=0)


def torch_logits(file: Path, pixels: Any) -> Any:
    """Logits (n, classes) of `weights.pt` and the `model.py` beside it."""
    import torch

    network = runpy.run_path(str(file.with_name("model.py")))["Network"]()
    network.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(pixels)).numpy()


def onnx_logits(file: Path, pixels: Any) -> Any:
    """Logits (n, classes) of an ONNX file, computed by onnxruntime, without either framework."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


if __name__ == "__main__":
    kind, file, pixels, logits = sys.argv[1:]
    load = {"keras": keras_logits, "torch": torch_logits, "onnx": onnx_logits}[kind]
    np.save(logits, load(Path(file), np.load(pixels)))
