"""The layers of two models side by side."""

from __future__ import annotations

from dataclasses import replace

from mnist_mlp.parity.check.layer_lists import dense_rows
from mnist_mlp.parity.outcome import LayerRow
from mnist_mlp.parity.pair.layer_lists import layer_rows
from mnist_mlp.parity.pair.weight_map import match
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.pair import PairFacts, PairLayer, Passed
from mnist_mlp.ports.protocol import PortFacts, PortLayer

KERNEL = {"kernel": (3, 3, 1, 6), "bias": (6,)}
DENSE = {"kernel": (6, 2), "bias": (2,)}


def facts(framework: str, *layers: PairLayer, loss: PairLayer | None = None) -> PairFacts:
    lines = {"loss": UserLine(f"{framework}.py", 9, "loss", "loss")}
    return PairFacts(framework=framework, layers=layers, chosen=0, loss=loss, lines=lines)


def short(rows: tuple[LayerRow, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(x.a.name if x.a else "", x.b.name if x.b else "", x.differing) for x in rows]


CONV = PairLayer(0, "conv", "conv", {"stride": (1, 1)}, KERNEL)
RELU = PairLayer(1, "relu", "relu")
DROP = PairLayer(2, "drop", "dropout", {"rate": 0.25})
OUT = PairLayer(3, "out", "dense", {}, DENSE)
LOSS = PairLayer(4, "mse", "mse_loss", {"reduction": "mean"})


def test_layers_are_matched_as_they_are_judged() -> None:
    a = facts("keras", CONV, RELU, DROP, OUT, loss=LOSS)
    line = UserLine("port.py", 3, "nn.Conv2d(1, 6, 3)", "layer")
    b = facts(
        "torch",
        PairLayer(0, "conv2d", "conv", {"stride": (2, 2)}, {"kernel": (3, 3, 1, 6)}, line=line),
        PairLayer(1, "elu", "elu", {"alpha": 1.0}),
        PairLayer(2, "linear", "dense", {}, DENSE),
        loss=PairLayer(3, "l1", "l1_loss", {"reduction": "sum"}),
    )
    rows = layer_rows(a, b, match(a.layers, b.layers))
    assert short(rows) == [
        ("conv", "conv2d", ("stride", "bias")),
        ("relu", "elu", ("kind",)),
        ("drop", "", ()),
        ("out", "linear", ()),
        ("mse", "l1", ("kind", "reduction")),
    ]
    port = rows[0].b
    assert port is not None
    assert port.line == line
    assert port.settings == {"stride": "(2, 2)", "kernel": "3x3x1x6", "bias": "none"}
    loss = rows[-1].a
    assert loss is not None
    assert loss.line is not None
    assert str(loss.line) == "keras.py:9: loss"


def test_models_that_do_not_match_are_laid_by_kind() -> None:
    a = facts("keras", CONV, RELU, OUT)
    other = PairLayer(2, "linear", "dense", {}, {"kernel": (7, 2), "bias": (2,)})
    extra = PairLayer(1, "norm", "batch_norm", {}, {"gamma": (6,)})
    b = facts("torch", CONV, extra, other)
    rows = layer_rows(a, b, match(a.layers, b.layers))
    assert short(rows) == [
        ("conv", "conv", ()),
        ("relu", "", ()),
        ("", "norm", ()),
        ("out", "linear", ("kernel",)),
    ]


def test_what_passes_something_on_stands_in_its_gap() -> None:
    """Paired by what it is within a gap; with the shape of each result."""
    line = UserLine("port.py", 9, "x.view(len(x), -1)", "layer")
    a = replace(
        facts("keras", CONV, RELU, OUT),
        shapes={0: (8, 8, 6), 1: (8, 8, 6), 3: (2,)},
        passed=(Passed(0, "pad", "pad", (10, 10, 1), {"pads": ((1, 1), (1, 1))}),
                Passed(2, "flatten", "flatten", (384,)), Passed(2, "add", "add", (384,))),
    )  # fmt: skip
    b = replace(
        facts("torch", CONV, RELU, OUT),
        shapes={0: (6, 8, 8)},
        passed=(Passed(0, "F.pad", "pad", (1, 10, 10), {"pads": ((2, 0), (2, 0))}),
                Passed(1, "permute", "permute", (8, 8, 6)),
                Passed(2, "view", "flatten", (384,), {}, line),
                Passed(4, "last", "reshape", (1, 2))),
    )  # fmt: skip
    rows = layer_rows(a, b, match(a.layers, b.layers))
    assert short(rows) == [
        ("pad", "F.pad", ("pads",)),
        ("conv", "conv", ()),
        ("", "permute", ()),
        ("relu", "relu", ()),
        ("flatten", "view", ()),
        ("add", "", ()),
        ("out", "out", ()),
        ("", "last", ()),
    ]
    shapes = [(x.a.output_shape if x.a else None, x.b.output_shape if x.b else None) for x in rows]
    assert shapes[:5] == [
        ("10x10x1", "1x10x10"), ("8x8x6", "6x8x8"), (None, "8x8x6"), ("8x8x6", ""), ("384", "384"),
    ]  # fmt: skip
    assert rows[4].b is not None
    assert rows[4].b.line == line


def test_dense_networks() -> None:
    """Activations are arguments in Keras and layers in torch: they are left out."""
    a = PortFacts(
        "keras",
        (PortLayer("f", "Flatten"), PortLayer("d", "Dense", 4, 3),
         PortLayer("x", "Dropout", settings={"rate": 0.5}),
         PortLayer("e", "Dense", 3, 2)),
        (), {},
    )  # fmt: skip
    b = PortFacts(
        "torch",
        (PortLayer("net.0", "Linear", 4, 3, bias=False), PortLayer("net.1", "ReLU"),
         PortLayer("net.2", "Dropout", settings={"rate": 0.25}), PortLayer("net.3", "Linear", 3, 2),
         PortLayer("net.4", "Linear", 2, 2)),
        (), {},
    )  # fmt: skip
    assert [x.a.output_shape for x in dense_rows(a, b) if x.a] == ["4", "3", "3", "2"]
    assert short(dense_rows(a, b)) == [
        ("f", "", ()),
        ("d", "net.0", ("bias",)),
        ("x", "net.2", ("rate",)),
        ("e", "net.3", ()),
        ("", "net.4", ()),
    ]
    assert short(dense_rows(None, b))[0] == ("", "net.0", ())
