"""The contract, implemented with PyTorch Lightning: `Trainer.fit` on a `LightningModule`.

torch and Lightning take seconds to import. Therefore the first method that needs them imports them,
and with them the other modules of this package.

Comments in this package that explain something by a framework's behaviour were written for torch
2.14, Lightning 2.6 and torchmetrics 1.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

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
from mnist_mlp.errors import SetupError
from mnist_mlp.ports.protocol import PortHost

_CHUNK = 4096  # rows predicted at a time, which bounds the memory


class TorchBackend:
    """See `mnist_mlp.contract.Backend`."""

    capabilities = Capabilities(
        accelerators=("cpu", "gpu"), fast_path=True, resume=True, devices=True
    )
    packages = ("torch", "torchvision", "lightning", "torchmetrics")
    install = "pip install 'mnist-mlp[torch]'"

    def environment(self) -> Environment:
        """Versions, and the CUDA devices that torch can use."""
        try:
            import lightning  # noqa: F401 - the import time covers the whole framework
            import torch
            import torchvision  # noqa: F401 - if this fails, Lightning fails later, obscurely
        except (ImportError, RuntimeError) as error:
            raise SetupError(
                f"torch and torchvision do not fit together here ({error}): "
                f"reinstall both from one index, {self.install} --force-reinstall"
            ) from None
        has_cuda = torch.version.cuda is not None  # torch.cuda lists AMD's GPUs too
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()) if has_cuda]
        return Environment(
            versions={name: version(name) for name in self.packages},
            gpus=tuple(gpus),
            gpu_install="" if has_cuda else "pip install --force-reinstall torch torchvision",
        )

    def open(self, spec: Spec, runtime: Runtime) -> Mapping[str, Any]:
        """Set threads and precision, and build the module; returns the flags in effect."""
        import torch

        from mnist_mlp_torch.fast import FastPerceptron
        from mnist_mlp_torch.module import Perceptron
        from mnist_mlp_torch.numerics import set_numerics

        set_numerics(runtime.threads)
        self.spec = spec
        self.runtime = runtime
        self.device = torch.device("cuda" if runtime.accelerator == "gpu" else "cpu")
        kind = FastPerceptron if runtime.fit_path == "fast" else Perceptron
        self.module = kind(spec).to(self.device)
        return {"tf32": False, "float32_matmul_precision": torch.get_float32_matmul_precision()}

    def fit(
        self, plan: Plan, data: TrainingData, progress: Progress, *, start: State | None = None
    ) -> Mapping[str, Any]:
        """`Trainer.fit`, with one `training_step` for many batches (fast) or one each (plain).

        Several devices have their own modules, each in its own process.
        """
        if self.runtime.devices.shared:
            from mnist_mlp_torch.ddp import fit_on_devices

            return fit_on_devices(plan, data, progress=progress, runtime=self.runtime, start=start)
        from mnist_mlp_torch.fit import fit

        return fit(self.module, plan, data, progress=progress, runtime=self.runtime, start=start)

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """One training step outside the `Trainer`, recorded stage by stage."""
        from mnist_mlp_torch.instrumented import instrumented_step

        return instrumented_step(self.module, state, images, labels)

    def draw(self, plan: Plan) -> Draws:
        """Initial weights and orders as the framework draws them by itself."""
        from mnist_mlp_torch.draws import draw

        return draw(self.spec, plan)

    def export(self, weights: Tensors, kind: str, folder: str) -> list[str]:
        """Write the network as files of torch or ONNX; returns their names."""
        from mnist_mlp_torch.export import export

        return export(self.spec, weights, kind, Path(folder))

    def predict(self, weights: Tensors, images: Array) -> Array:
        """Logits (n, classes) of uint8 images (n, inputs), computed in chunks of rows."""
        import torch

        self.module.load_weights(weights)
        self.module.eval()
        chunks = []
        with torch.inference_mode():
            for start in range(0, len(images), _CHUNK):
                x = self.module.pixels(torch.from_numpy(images[start : start + _CHUNK]))
                chunks.append(self.module(x).cpu().numpy())
        return np.concatenate(chunks)

    # --- A user's own module: see `mnist_mlp.ports.protocol.PortBackend` ---

    def open_port(self, target: str, runtime: Runtime) -> PortHost:
        """Load a user's LightningModule."""
        from mnist_mlp_torch.port.host import Port
        from mnist_mlp_torch.port.native_writers import tell_of_writing

        tell_of_writing()
        return Port(target, runtime)
