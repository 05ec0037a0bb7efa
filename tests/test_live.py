"""`check` of objects of the running process, as a notebook has them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mnist_mlp import check
from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.parity.check.live import target_of
from mnist_mlp.ports.live import Live, hold
from mnist_mlp.ports.user_code import CELLS, HELD, load_object
from mnist_mlp.testing import assert_same_training, judged

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 256}
RATE = 0.01


def build() -> Any:
    """The tutorial's network in Keras."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(128, "sigmoid"),
            layers.Dense(64, "sigmoid"),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(RATE), "categorical_crossentropy")
    return model


def port() -> Any:
    """The same as a torch module, with its loss and its optimizer."""
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 64), nn.Sigmoid(), nn.Linear(64, 10)
    )
    for layer in net[::2]:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    return {"module": net, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer}


def textbook() -> Any:
    """With torch's own initial weights."""
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 64), nn.Sigmoid(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    return {"module": net, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer}


def raising() -> Any:
    import torch

    return torch.nn.Linear(784, "ten")


def both() -> Any:
    import keras
    import torch

    return torch, keras


def neither() -> int:
    return 3


@pytest.mark.long
def test_a_function_of_each_framework(same_training: Any) -> None:
    """By `check`, in a test suite and by the fixture; this process imports neither framework."""
    same_training(port, build, dataset="digits", **QUICK)
    checked = check(textbook, build, dataset=_digits(), **QUICK)
    assert checked.outcome.verdict == "different"
    page = checked._repr_html_()
    for words in (
        "DIFFERENT",
        "torch_default_kernel_init",
        "breaks at rung init",
        "cure:",
        "test_live.py",
    ):
        assert words in page
    with pytest.raises(AssertionError, match="torch_default_kernel_init"):
        assert_same_training(textbook, build, dataset="digits", **QUICK)
    assert not {"torch", "keras", "tensorflow"} & sys.modules.keys()


def _digits() -> Any:
    from mnist_mlp import load_dataset

    return load_dataset("digits")


def test_a_live_port_against_a_specification() -> None:
    assert judged(port, dataset="digits", **QUICK).verdict == "identical"


def test_an_error_names_the_users_own_line() -> None:
    with pytest.raises(UserCodeError, match=r"test_live\.py:\d+: TypeError"):
        check(raising, dataset=_digits(), **QUICK)


# --- What a target is made of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "framework"), [(build, "keras"), (port, "torch"), ({"model": build}, "keras")]
)
def test_the_framework_is_told_by_what_is_imported(given: Any, framework: str) -> None:
    target = target_of(given)
    assert target.framework == framework
    assert target.live is not None
    assert target.path.name == "test_live.py"


@pytest.mark.parametrize(("given", "what"), [(both, "both frameworks"), (neither, "neither Keras")])
def test_a_framework_that_cannot_be_told_is_asked_for(given: Any, what: str) -> None:
    with pytest.raises(UsageError, match=rf'{given.__name__} uses {what}.*framework_a="keras"'):
        target_of(given, option="framework_a")
    assert target_of(given, framework="torch").framework == "torch"


LOCK = threading.Lock()


def with_a_lock() -> Any:
    import keras

    return keras.Sequential(), LOCK


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (with_a_lock, "'LOCK', which it uses"),
        ({"model": build, "loader": (x for x in [])}, "what stands under 'loader'"),
    ],
)
def test_what_cannot_be_pickled_is_named(given: Any, part: str) -> None:
    with pytest.raises(UsageError, match=f"{part} cannot be pickled"):
        target_of(given)


def test_both_frameworks_in_one_process_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    target_of(build)
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    with pytest.warns(UserWarning, match="both loaded in this process.*restart it"):
        target_of(build)


def test_what_cannot_be_put_together_is_told() -> None:
    hold("In[1]:net", Live(b"no pickle"))
    try:
        with pytest.raises(UserCodeError, match=r"(?s)In\[1\]:net: .*a function that makes it"):
            load_object("In[1]:net")
    finally:
        del HELD["In[1]:net"]


# --- In a process of its own ----------------------------------------------------------------------

TORCH = """
import sys, torch, lightning, mnist_mlp
from torch import nn

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 64), nn.Sigmoid(), nn.Linear(64, 10)
        )
        for layer in self.layers[::2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, number):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=RATE)

RATE = 0.01
digits = mnist_mlp.load_dataset("digits")
for given in (Net, Net()):
    print(mnist_mlp.check(given, dataset=digits, epochs=1, batch_size=256).outcome.verdict)
print("tensorflow" in sys.modules)
"""

KERAS = """
import sys, keras, mnist_mlp
from keras import layers

model = keras.Sequential([
    layers.Input((28, 28, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")

def port():
    import torch
    from torch import nn
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2704, 10))
    for layer in (net[0], net[3]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    return {"module": net, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer}

digits = mnist_mlp.load_dataset("digits")
print(mnist_mlp.check(port, model, dataset=digits, image_shape=(1, 28, 28)).outcome.text)
print("torch" in sys.modules)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (TORCH, ["identical", "identical", "False"]),
        (KERAS, ["Every exercised rung is clean", "False"]),
    ],
    ids=["torch", "keras"],
)
def test_classes_and_models_of_a_running_process(
    text: str, answer: list[str], tmp_path: Path
) -> None:
    """What stands in `__main__`, and in no file."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=text,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(answer), done.stderr
    for line, words in zip(lines, answer, strict=True):
        assert line.startswith(words), done.stdout
    assert list(CELLS) == []
