"""The contract, implemented with Keras: `Sequential`, `compile`, `fit`.

Keras and its engine take seconds to import. Therefore the first method that needs them imports
them, and with them the other modules of this package.

Comments in this package that explain something by the framework's behaviour were written for Keras
3.15 on TensorFlow 2.21, torch 2.14 and JAX 0.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mnist_mlp.contract import (
    Array,
    Capabilities,
    Draws,
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
from mnist_mlp_keras.engines import import_all, keep_float64, start


class _OnAnyEngine:
    """What is the same on each engine: training a specification's network."""

    capabilities: ClassVar[Capabilities] = Capabilities(resume=True)
    engine: ClassVar[str]
    """Keras's name for the engine."""

    @classmethod
    def preload(cls) -> None:
        """Import everything, for a process that workers are forked from."""
        import_all(cls.engine)

    def environment(self) -> Environment:
        """Versions of Keras and its engine."""
        return Environment(versions=self._engine().versions())

    def open(self, spec: Spec, runtime: Runtime) -> Mapping[str, Any]:
        """Set threads and precision, build and compile the model; returns the flags in effect."""
        flags = self._engine().configure(runtime)
        import keras

        from mnist_mlp_keras.model import build

        keras.utils.clear_session()
        keep_float64()
        # Set before anything is built, so that float64 includes the scalars of the optimizer.
        keras.config.set_floatx(spec.training.precision)
        keras.config.set_dtype_policy(spec.training.precision)
        self.spec = spec
        fast = runtime.fit_path == "fast" and self.capabilities.fast_path
        self.model = build(spec, fit_path="fast" if fast else "plain")
        return {
            **flags,
            "keras_engine": keras.config.backend(),
            "jit_compile": self.model.jit_compile,
        }

    def fit(
        self, plan: Plan, data: TrainingData, progress: Progress, *, start: State | None = None
    ) -> Mapping[str, Any]:
        """`Model.fit`, with one compiled call for many batches (fast) or one call each (plain)."""
        from mnist_mlp_keras.fit import fit

        return fit(self.model, plan, data, progress=progress, start=start)

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """One eager training step outside `fit`, recorded stage by stage."""
        from mnist_mlp_keras.instrumented import instrumented_step

        return instrumented_step(self.model, self.spec, state, images, labels)

    def draw(self, plan: Plan) -> Draws:
        """Initial weights and orders as the framework draws them by itself."""
        from mnist_mlp_keras.draws import draw

        return draw(self.spec, plan)

    def predict(self, weights: Tensors, images: Array) -> Array:
        """Logits (n, classes) of uint8 images (n, inputs)."""
        from mnist_mlp_keras.fit import predict_logits

        return predict_logits(self.model, weights, images)

    def _engine(self) -> Any:
        return start(self.engine)


class KerasBackend(_OnAnyEngine):
    """Keras on TensorFlow: see `mnist_mlp.contract.Backend`."""

    capabilities = Capabilities(accelerators=("cpu", "gpu"), fast_path=True, resume=True)
    packages = ("tensorflow", "keras")
    install = "pip install 'mnist-mlp[keras]'"
    engine = "tensorflow"

    def environment(self) -> Environment:
        """Versions, and the GPUs that TensorFlow can use."""
        engine = self._engine()
        gpus = engine.gpus()
        return Environment(
            versions=engine.versions(),
            gpus=gpus,
            gpu_install="" if gpus else "pip install 'mnist-mlp[gpu]'",
        )

    def export(self, weights: Tensors, kind: str, folder: str) -> list[str]:
        """Write the network as files of Keras or ONNX; returns their names."""
        from mnist_mlp_keras.export import export

        return export(self.spec, weights, kind, Path(folder))

    # --- A user's own model: see `mnist_mlp.ports.protocol.PortBackend` ---

    def open_port(self, target: str, runtime: Runtime) -> PortHost:
        """Load a user's model."""
        self._engine().configure(runtime)
        import keras

        from mnist_mlp_keras.port.host import KerasPort
        from mnist_mlp_keras.port.native_writers import tell_of_writing

        tell_of_writing()
        keras.utils.clear_session()
        # Keras hides its own frames from tracebacks. Then an error in the user's code would seem
        # to come from here.
        keras.config.disable_traceback_filtering()
        # The default, which the user's file may change later. `clear_session` has reset the dtype
        # policy, so it follows this setting.
        keras.config.set_floatx("float32")
        return KerasPort(target)


class KerasTorchBackend(_OnAnyEngine):
    """Keras on torch: see `mnist_mlp.contract.Backend`. TensorFlow is not imported."""

    packages = ("torch", "keras")
    install = "pip install 'mnist-mlp[keras-torch]'"
    engine = "torch"


class KerasJaxBackend(_OnAnyEngine):
    """Keras on JAX: see `mnist_mlp.contract.Backend`. TensorFlow is not imported."""

    capabilities = Capabilities(fast_path=True, resume=True)
    packages = ("jax", "keras")
    install = "pip install 'mnist-mlp[keras-jax]'"
    engine = "jax"
