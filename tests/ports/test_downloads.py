"""Downloads of two scripts that run at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_mlp.ports.downloads import apart, one_at_a_time
from mnist_mlp.worker.parent import Worker

pytest.importorskip("fcntl")

WAITING = """
import sys, time
from pathlib import Path
from mnist_mlp.ports.downloads import apart

def download(folder):
    file = Path(folder) / "data"
    if not file.exists():
        with Path(folder, "log").open("a") as log:
            log.write("begins ")
            log.flush()
            time.sleep(0.5)
            file.write_text("rows")
            log.write("ends ")
    assert file.read_text() == "rows"

LOCKED(download)(sys.argv[1])
"""


def log_of_two(locked: str, folder: Path) -> str:
    folder.mkdir()
    text = WAITING.replace("LOCKED(download)", locked)
    both = [subprocess.Popen([sys.executable, "-c", text, str(folder)]) for _ in range(2)]
    assert [each.wait(60) for each in both] == [0, 0]
    return (folder / "log").read_text().strip()


def test_the_second_waits_and_finds_the_file(tmp_path: Path) -> None:
    locked = "apart(download, lambda folder: folder)"
    assert log_of_two(locked, tmp_path / "one") == "begins ends"
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["data", "log"]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "cache"
    taken.write_text("a file")
    monkeypatch.setenv("MNIST_MLP_CACHE", str(taken))
    with one_at_a_time(tmp_path):
        pass
    assert taken.read_text() == "a file"


def test_other_folders_and_later_calls_do_not_wait(tmp_path: Path) -> None:
    with one_at_a_time(tmp_path / "a"), one_at_a_time(tmp_path / "b"):
        pass
    assert apart(lambda x, *, y: x + y, lambda x, *, y: tmp_path)(1, y=2) == 3


KERAS = """
import keras, numpy as np
from pathlib import Path
from keras.datasets import mnist
import keras.src.datasets.mnist as used
Path(__file__).with_suffix(".names").write_text(
    f"{keras.utils.get_file.__wrapped__.__name__} {used.get_file.__wrapped__.__name__}"
)
path = keras.utils.get_file("rows.txt", Path(__file__).as_uri(), cache_dir=str(Path.cwd() / "c"))
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.zeros((8, 4)), np.zeros((8, 1)))
"""

TORCH = """
import torch
from pathlib import Path
from torchvision.datasets import MNIST, CIFAR10
Path(__file__).with_suffix(".names").write_text(
    f"{MNIST.download.__wrapped__.__name__} {CIFAR10.download.__wrapped__.__name__}"
)
net = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for x, y in torch.utils.data.DataLoader([(torch.zeros(4), torch.zeros(1))] * 8, batch_size=4):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("framework", "text", "names"),
    [("keras", KERAS, "get_file get_file"), ("torch", TORCH, "download download")],
)
def test_the_downloaders_of_both_libraries_wait(
    framework: str,
    text: str,
    names: str,
    tmp_path: Path,
    workers: Callable[[str], Worker],
) -> None:
    """Wherever a script or the library itself finds them, and only while the script runs."""
    script = tmp_path / "train.py"
    script.write_text(text.replace("Path.cwd()", f"Path({str(tmp_path)!r})"))
    (tmp_path / "c").mkdir()
    workers(framework).describe_port(str(script))
    assert script.with_suffix(".names").read_text() == names
