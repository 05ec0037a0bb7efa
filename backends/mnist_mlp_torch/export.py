"""Export a trained network as torch files (weights and a module's source), or as ONNX."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mnist_mlp.contract import Spec, Tensors, activation_parts
from mnist_mlp_torch.module import Perceptron

_SOURCE = '''"""A multilayer perceptron: logits (n, {classes}) of pixels (n, {inputs}) in [0, 1].

    import torch
    from model import Network

    network = Network()
    network.load_state_dict(torch.load("weights.pt", weights_only=True))
    probabilities = network(pixels).softmax(dim=1)
"""

from torch import nn


class Network(nn.Sequential):
    """{layers}."""

    def __init__(self):
        super().__init__(
{body}
        )
'''

_MODULES = {
    "linear": "nn.Identity()",
    "relu": "nn.ReLU()",
    "sigmoid": "nn.Sigmoid()",
    "tanh": "nn.Tanh()",
    "softplus": "nn.Softplus()",
    "elu": "nn.ELU()",
    "selu": "nn.SELU()",
    "gelu": "nn.GELU()",
    "silu": "nn.SiLU()",
}


def source(spec: Spec) -> str:
    """Python source of the network as a plain `nn.Sequential`, which needs only torch."""
    dtype = ", dtype=torch.float64" if spec.training.precision == "float64" else ""
    lines = []
    for inputs, units, name in spec.model.layers:
        lines.append(f"nn.Linear({inputs}, {units}{dtype}),")
        if name != "softmax":
            kind, slope = activation_parts(name)
            lines.append(
                f"nn.LeakyReLU({slope!r})," if kind == "leaky_relu" else f"{_MODULES[kind]},"
            )
    sizes = "-".join(str(size) for size in spec.model.layer_sizes)
    text = _SOURCE.format(
        inputs=spec.model.layer_sizes[0],
        classes=spec.model.layer_sizes[-1],
        layers=f"{sizes}: {', '.join(spec.model.activations[:-1]) or 'no hidden layer'}",
        body="\n".join(f"            {line}" for line in lines),
    )
    return (
        text.replace(
            "from torch import nn\n\n\nclass", "import torch\nfrom torch import nn\n\n\nclass"
        )
        if dtype
        else text
    )


def network(spec: Spec, weights: Tensors) -> nn.Sequential:
    """The network of `source`, with its weights."""
    names: dict[str, object] = {}
    exec(source(spec), names)  # our own text from above, so that the exported source is tested
    made: nn.Sequential = names["Network"]()  # type: ignore[operator]
    ours = Perceptron(spec)
    ours.load_weights(weights)
    with torch.no_grad():
        dense = [layer for layer in made if isinstance(layer, nn.Linear)]
        for theirs, layer in zip(dense, ours.layers, strict=True):
            theirs.weight.copy_(layer.weight)
            theirs.bias.copy_(layer.bias)
    return made.eval()


def export(spec: Spec, weights: Tensors, kind: str, folder: Path) -> list[str]:
    """Write `torch` (weights.pt, model.py) or `onnx` files into a folder; returns their names."""
    made = network(spec, weights)
    if kind == "torch":
        torch.save(made.state_dict(), folder / "weights.pt")
        (folder / "model.py").write_text(source(spec), encoding="utf-8")
        return ["weights.pt", "model.py"]
    sample = torch.zeros(2, spec.model.layer_sizes[0], dtype=made[0].weight.dtype)
    torch.onnx.export(
        made,
        (sample,),
        folder / "model.onnx",
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=({0: "rows"},),
        external_data=False,
        verbose=False,
    )
    return ["model.onnx"]
