"""Broken specifications: TOML files, environment variables, and sizes that no machine can hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from torture.broken import Broken
from torture.case import ANSWERED, Try
from torture.spoil import link_to, replacing, sparse, writing
from torture.world import SIZES

NAME = "theirs.toml"

FILES: dict[str, bytes | Callable[[], bytes]] = {
    "not TOML": b"{}",
    "half a line": b"seed =",
    "a key twice": b"seed = 1\nseed = 2\n",
    "a section twice": b"[model]\n[model]\n",
    "an open quote": b'name = "x\n',
    "NUL bytes": b"seed = 1\x00\n",
    "UTF-16": "seed = 1\n".encode("utf-16"),
    "Latin-1": "# caf\xe9\nseed = 1\n".encode("latin1"),
    "escape codes": b"\x1b[2Jseed = 1\n",
    "noise": bytes(range(256)),
    "100,000 open brackets": b"seed = " + b"[" * 100_000,
    "100,000 open tables": b"seed = " + b"{a=" * 100_000,
    "a key of 100,000 parts": b".".join([b"a"] * 100_000) + b" = 1\n",
    "10,000 nested sections": b"[" + b".".join([b"a"] * 10_000) + b"]\n",
    "70 MB": lambda: b"# " + b"x" * 70_000_000 + b"\n",
    "a million keys": lambda: b"".join(b"k%d = 1\n" % n for n in range(10**6)),
    "an unknown key": b"sede = 1\n",
    "an unknown key of 1 MB": b'"' + b"k" * 10**6 + b'" = 1\n',
    "an unknown key with escape codes": b'"\\u001b[2J" = 1\n',
    "an unknown section": b"[modle]\nlayer_sizes = [30, 4]\n",
    "an unknown key in a section": b"[model]\nlayers = 3\n",
    "a section that is a value": b"model = 3\n",
    "a section that is an array": b"[[model]]\nlayer_sizes = [30, 4]\n",
    "a value that is a section": b"[seed]\na = 1\n",
    "a date": b"seed = 2026-01-01\n",
    "a seed that is negative": b"seed = -1\n",
    "a seed of 2^32": b"seed = 4294967296\n",
    "a seed of 5,000 digits": b"seed = " + b"9" * 5000 + b"\n",
    "a seed of 10^6 hex digits": lambda: b"seed = 0x" + b"f" * 10**6 + b"\n",
    "a seed that is a fraction": b"seed = 1.5\n",
    "a seed that is true": b"seed = true\n",
    "a name that is empty": b'name = ""\n',
    "a name that is a path": b'name = "../../x"\n',
    "a name with escape codes": b'name = "\\u001b]0;title\\u0007"\n',
    "a name of 1 MB": lambda: b'name = "' + b"n" * 10**6 + b'"\n',
    "a name that is a number": b"name = 1\n",
    "no layers": b"[model]\nlayer_sizes = []\n",
    "one layer": b"[model]\nlayer_sizes = [30]\n",
    "a layer without units": b"[model]\nlayer_sizes = [30, 0, 4]\n",
    "a layer with -1 units": b"[model]\nlayer_sizes = [30, -1, 4]\n",
    "a layer with 1.5 units": b"[model]\nlayer_sizes = [30, 1.5, 4]\n",
    "layers that are texts": b'[model]\nlayer_sizes = ["30", "4"]\n',
    "layers that are nested": b"[model]\nlayer_sizes = [[30], [4]]\n",
    "one class": b"[model]\nlayer_sizes = [30, 1]\n",
    "a layer with 10^5000 units": b"[model]\nlayer_sizes = [30, 1" + b"0" * 5000 + b", 4]\n",
    "an unknown activation": b'[model]\nactivations = ["magic", "softmax"]\n',
    "an activation of 1 MB": lambda: b'[model]\nactivations = ["' + b"a" * 10**6 + b'", "softmax"]',
    "a slope that is no number": b'[model]\nactivations = ["leaky_relu(1e)", "softmax"]\n',
    "softmax within": b'[model]\nactivations = ["softmax", "sigmoid", "softmax"]\n',
    "too few activations": b'[model]\nactivations = ["softmax"]\n',
    "a rate of zero": b"[optimizer]\nlearning_rate = 0.0\n",
    "a rate of infinity": b"[optimizer]\nlearning_rate = inf\n",
    "a rate of NaN": b"[optimizer]\nlearning_rate = nan\n",
    "a rate of 1e999": b"[optimizer]\nlearning_rate = 1e999\n",
    "a rate that is a text": b'[optimizer]\nlearning_rate = "low"\n',
    "a momentum of 1": b"[optimizer]\nmomentum = 1.0\n",
    "nesterov without momentum": b"[optimizer]\nnesterov = true\n",
    "Adam with momentum": b'[optimizer]\nname = "adam"\nmomentum = 0.9\n',
    "an unknown optimizer": b'[optimizer]\nname = "lion"\n',
    "a schedule that falls back": b"[optimizer]\nschedule = [[9, 0.1], [3, 0.2]]\n",
    "a schedule of triples": b"[optimizer]\nschedule = [[9, 0.1, 1]]\n",
    "a schedule of texts": b'[optimizer]\nschedule = ["9", "0.1"]\n',
    "a batch of zero": b"[training]\nbatch_size = 0\n",
    "no epochs": b"[training]\nepochs = 0\n",
    "half an epoch": b"[training]\nepochs = 0.5\n",
    "an unknown precision": b'[training]\nprecision = "float16"\n',
    "an unknown data set": b'[data]\ndataset = "cifar"\n',
    "all for the test": b"[data]\ntest_fraction = 1.0\n",
    "no rows": b"[data]\nrows = 0\n",
    "some rows": b'[data]\nrows = "some"\n',
}
"""Files that a look at the specification, `--dry-run`, must refuse."""

TOO_LARGE = {
    "10^9 epochs": "training.epochs=1000000000",
    "10^18 epochs": "training.epochs=1000000000000000000",
    "10^30 epochs": f"training.epochs=1{'0' * 30}",
    "10^12 units": "model.layer_sizes=[30,1000000000000,4]",
    "10^30 units": f"model.layer_sizes=[30,1{'0' * 30},4]",
    "10^9 inputs": "model.layer_sizes=[1000000000,9,4]",
    "10^12 classes": "model.layer_sizes=[30,9,1000000000000]",
    "10^30 rows": f"data.rows=1{'0' * 30}",
    "two layers of 10^6 units": "model.layer_sizes=[30,1000000,1000000,4]",
}
"""Settings that are possible, but not on this machine or with these data."""

LARGE = {
    "a batch of 10^18": "training.batch_size=1000000000000000000",
    "a schedule beyond the end": "optimizer.schedule=[[1000000000000,0.1]]",
    "a test share of 1e-300": "data.test_fraction=1e-300",
    "a rate of 1e-300": "optimizer.learning_rate=1e-300",
}
"""Settings that are odd, and may be trained."""

VARIABLES: dict[str, tuple[Mapping[str, str], str]] = {
    "an unknown variable": ({"MNIST_MLP_EPOCH": "3"}, "MNIST_MLP_EPOCH"),
    "a variable that is no number": ({"MNIST_MLP_EPOCHS": "three"}, "MNIST_MLP_EPOCHS"),
    "a variable that is empty": ({"MNIST_MLP_SEED": ""}, "MNIST_MLP_SEED"),
    "a variable with escape codes": ({"MNIST_MLP_NAME": "\x1b[2J"}, "MNIST_MLP_NAME"),
    "a variable of 100 kB": ({"MNIST_MLP_NAME": "n" * 10**5}, "MNIST_MLP_NAME"),
    "a variable of 100,000 brackets": ({"MNIST_MLP_SEED": "[" * 10**5}, "MNIST_MLP_SEED"),
}

ODD: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "/dev/zero": link_to("/dev/zero"),
    "a link to itself": link_to(NAME),
    "a hole of 8 GiB": lambda path: sparse(path, b"", size=2**33),
}


def training(*options: str) -> tuple[str, ...]:
    """A short training run with the NumPy backend."""
    return (
        *("train", "--backend", "numpy", "--set", SIZES, "--set", "training.epochs=1"),
        *("--out", "new", "--progress", "none", *options),
    )


def cases() -> list[Broken]:
    """All of them."""
    look = ("train", "--backend", "numpy", "--dry-run")
    config = [Try((*look, "--config", NAME), names=NAME)]
    return [
        *(Broken(name, writing(NAME, content), config) for name, content in FILES.items()),
        *(Broken(name, replacing(NAME, make), config) for name, make in ODD.items()),
        *(
            Broken(
                name,
                lambda _: None,
                [Try(training("--set", text), names=text.partition("=")[0].rpartition(".")[2])],
            )
            for name, text in TOO_LARGE.items()
        ),
        *(
            Broken(name, lambda _: None, [Try(training("--set", text), codes=ANSWERED)])
            for name, text in LARGE.items()
        ),
        *(
            Broken(name, lambda _: None, [Try(look, names=names, environment=values)])
            for name, (values, names) in VARIABLES.items()
        ),
    ]
