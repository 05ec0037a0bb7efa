"""Keras behind the contract: `Sequential`, `compile`, `fit`.

Keras and TensorFlow take seconds to import, so they are imported by the first method that needs
them; the rest of the package is imported from there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnist_mlp.contract import (
    Array,
    Capabilities,
    Environment,
    Plan,
    Progress,
    Runtime,
    Spec,
    State,
    StepRecord,
    Tensors,
    TrainingData,
)
from mnist_mlp.ports.protocol import PortHost


class KerasBackend:
    """See `mnist_mlp.contract.Backend`."""

    capabilities = Capabilities(accelerators=("cpu", "gpu"), fast_path=True)
    packages = ("tensorflow", "keras")
    install = "pip install 'mnist-mlp[keras]'"

    def environment(self) -> Environment:
        """Versions, and the GPUs TensorFlow can use."""
        engine = self._engine()
        gpus = engine.gpus()
        return Environment(
            versions=engine.versions(),
            gpus=gpus,
            gpu_install="" if gpus else "pip install 'mnist-mlp[gpu]'",
        )

    def open(self, spec: Spec, runtime: Runtime) -> Mapping[str, Any]:
        """Pin the threads and the arithmetic, build and compile the model."""
        flags = self._engine().configure(runtime)
        import keras

        from mnist_mlp_keras.model import build

        keras.utils.clear_session()
        # Before anything is built: float64 means float64 throughout, the optimizer's scalars too.
        keras.config.set_floatx(spec.training.precision)
        keras.config.set_dtype_policy(spec.training.precision)
        self.spec = spec
        self.model = build(spec, fit_path=runtime.fit_path)
        return {
            **flags,
            "keras_engine": keras.config.backend(),
            "jit_compile": self.model.jit_compile,
        }

    def fit(self, plan: Plan, data: TrainingData, progress: Progress) -> Mapping[str, Any]:
        """`Model.fit`: a compiled call for many batches, or, the textbook way, for each."""
        from mnist_mlp_keras.fit import fit

        return fit(self.model, plan, data, progress=progress)

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """One eager step outside `fit`, stage by stage."""
        from mnist_mlp_keras.instrumented import instrumented_step

        return instrumented_step(self.model, self.spec, state, images, labels)

    def export(self, weights: Tensors, kind: str, folder: str) -> list[str]:
        """Native files of the network; their names."""
        from mnist_mlp_keras.export import export

        return export(self.spec, weights, kind, Path(folder))

    def predict(self, weights: Tensors, images: Array) -> Array:
        """Logits of all rows."""
        from mnist_mlp_keras.fit import predict_logits

        return predict_logits(self.model, weights, images)

    # --- A user's own model: see `mnist_mlp.ports.protocol.PortBackend` ---

    def open_port(self, target: str, runtime: Runtime) -> PortHost:
        """Load a user's model."""
        self._engine().configure(runtime)
        import keras

        from mnist_mlp_keras.port.host import KerasPort

        keras.utils.clear_session()
        # Without Keras's own frames an error of the user's would seem to come from here.
        keras.config.disable_traceback_filtering()
        # What the user's file says of precision comes after this; the policy, which `clear_session`
        # has put back, follows it.
        keras.config.set_floatx("float32")
        return KerasPort(target)

    @staticmethod
    def _engine() -> Any:
        # Keras reads this when it is imported; TensorFlow's own notices are not for our users.
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from mnist_mlp_keras import engine

        return engine
