"""Standard streams that are closed, full, or read by nobody: the run is written all the same."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_mlp.streams import open_closed

TRAIN = (
    "--backend numpy --epochs 2 --set model.layer_sizes=[30,9,4] --batch-size 32 --out run"
    " --data-dir "
)

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a POSIX shell")


def shell(words: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line as a shell runs it; `{}` stands for the program."""
    program = shlex.join([sys.executable, "-m", "mnist_mlp"])
    command = ["bash", "-c", f"set -o pipefail; {words.replace('{}', program)}"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def status(folder: Path) -> str:
    return str(json.loads((folder / "run" / "run.json").read_text())["status"])


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("2>&1 >/dev/null | true", marks=pytest.mark.long),
        pytest.param("--progress rich 2>&1 >/dev/null | true", marks=pytest.mark.long),
        pytest.param("2>&-", marks=pytest.mark.long),
        "2>/dev/full",
        pytest.param(">&-", marks=pytest.mark.long),
        pytest.param("<&-", marks=pytest.mark.long),
        pytest.param("<&- >&- 2>&-", marks=pytest.mark.long),
        pytest.param("--verbose >&- 2>&-", marks=pytest.mark.long),
    ],
)
def test_a_run_needs_no_streams(tmp_path: Path, idx_dir: Path, how: str) -> None:
    done = shell("{} train " + f"{TRAIN} {idx_dir} {how}", folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert status(tmp_path) == "complete"
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in (".json", ".csv", ".txt"):
            assert "epoch 1/2" not in path.read_text(), "progress went into a file of the run"


def test_what_a_framework_prints_may_be_lost_too(tmp_path: Path, idx_dir: Path) -> None:
    """With `--verbose`, the worker prints on the stderr that nobody reads."""
    (tmp_path / "printing.py").write_text(
        "from mnist_mlp_numpy import NumpyBackend\n\n\n"
        "class Printing(NumpyBackend):\n"
        "    def fit(self, plan, data, progress):\n"
        "        print('x' * 100_000)\n"
        "        return super().fit(plan, data, progress)\n"
    )
    words = TRAIN.replace("numpy", "printing:Printing")
    done = shell("{} train -v " + f"{words} {idx_dir} 2>&1 >/dev/null | true", folder=tmp_path)
    assert done.returncode == 0
    assert status(tmp_path) == "complete"


@pytest.mark.parametrize("json_too", ["", "--json"])
def test_a_full_disk_behind_stdout_is_one_sentence(
    tmp_path: Path, idx_dir: Path, json_too: str
) -> None:
    words = f"{TRAIN} {idx_dir} --progress none {json_too}"
    done = shell("{} train " + f"{words} >/dev/full", folder=tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == (
        "error: standard output cannot be written: No space left on device; send it elsewhere"
    )
    assert "Traceback" not in done.stderr
    assert status(tmp_path) == "complete"


def test_an_error_keeps_its_exit_code_where_stdout_fails(tmp_path: Path) -> None:
    done = shell("{} evaluate nowhere --json >/dev/full", folder=tmp_path)
    assert done.returncode == 4
    assert done.stderr == "error: nowhere: no such run folder\n"


@pytest.mark.parametrize("words", ["--help", "explain torch_default_kernel_init"])
def test_a_reader_that_ends_early_is_met_quietly(tmp_path: Path, words: str) -> None:
    done = shell("(sleep 0.2; {} " + f"{words}) | true", folder=tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [("bad\udcff", "utf-8:strict", b"bad\xff"), ("2\u03c0", "latin-1:strict", b"2\\u03c0")],
)
def test_any_path_can_be_printed(
    tmp_path: Path, idx_dir: Path, name: str, encoding: str, shown: bytes
) -> None:
    """Where Python's own stream would raise an error."""
    folder = shutil.copytree(idx_dir, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "mnist_mlp", "data", "--data-dir", folder],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, done.stderr):
        assert b"/" + shown in text


def test_a_file_does_not_take_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    script = (
        "import os\nfrom mnist_mlp.streams import open_closed\nopen_closed()\n"
        "file = os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "os.write(2, b'printed')\nassert file > 2\n"
    )
    command = shlex.join([sys.executable, "-c", script])
    shell(f"{command} 2>&-", folder=tmp_path)
    assert (tmp_path / "file").read_bytes() == b""
    shell(f"{command.replace('open_closed()', '')} 2>&-", folder=tmp_path)
    assert (tmp_path / "file").read_bytes() == b"printed", "what the test above rests on"


def test_open_streams_are_left_alone() -> None:
    open_closed()
    assert sys.stdin is not None
