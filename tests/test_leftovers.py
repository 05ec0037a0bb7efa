"""What a killed process leaves behind is removed, and nothing that is another's or in use."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.data.cache import filling
from mnist_mlp.errors import SetupError
from mnist_mlp.leftovers import held, temporary_folder
from mnist_mlp.run import files
from mnist_mlp.run.claim import claimed
from mnist_mlp.run.files import require_space, write_atomically
from mnist_mlp.run.folder import Run

Cli = Callable[..., CompletedProcess[str]]

STALE = ".run.json.mnist_mlp-k3j2h1x0"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs flock")


def aged(path: Path) -> Path:
    """Make a file or folder an hour old."""
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    return path


def stale(path: Path) -> Path:
    path.write_text("half")
    return aged(path)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- Temporary files ------------------------------------------------------------------------------


def test_the_next_write_removes_what_nobody_holds(tmp_path: Path) -> None:
    stale(tmp_path / STALE)
    stale(tmp_path / ".weights.safetensors.mnist_mlp-00000000")
    write_atomically(tmp_path / "history.csv", b"new")
    assert names_in(tmp_path) == {"history.csv"}


def test_what_is_held_young_or_another_s_stays(tmp_path: Path) -> None:
    in_use = stale(tmp_path / STALE)
    (tmp_path / ".run.json.mnist_mlp-younger0").write_text("about to be locked")
    for foreign in (".run.json.swp", ".run.json.abcdefgh", "run.json.mnist_mlp-k3j2h1x0"):
        stale(tmp_path / foreign)
    (tmp_path / ".link.mnist_mlp-k3j2h1x0").symlink_to(tmp_path / "run.json.mnist_mlp-k3j2h1x0")
    before = names_in(tmp_path)
    with held(in_use):
        write_atomically(tmp_path / "history.csv", b"new")
    assert names_in(tmp_path) == {*before, "history.csv"}


def test_a_writer_that_is_killed_leaves_nothing_for_long(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom mnist_mlp.run import files\n"
        "Path.replace = lambda *_: (print('writing', flush=True), time.sleep(60))\n"
        "files.write_atomically(Path(sys.argv[1]) / 'run.json', b'x')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (temporary,) = tmp_path.iterdir()
        aged(temporary)
        write_atomically(tmp_path / "other", b"x")
        assert temporary.exists(), "its process lives"
        process.send_signal(signal.SIGKILL)
        process.wait()
    write_atomically(tmp_path / "other", b"x")
    assert names_in(tmp_path) == {"other"}


def test_partial_downloads(tmp_path: Path) -> None:
    (tmp_path / "partial-k3j2h1x0" / "inner").mkdir(parents=True)
    aged(tmp_path / "partial-k3j2h1x0")
    (tmp_path / "partial-mine").mkdir()
    aged(tmp_path / "partial-mine")
    with filling(tmp_path) as first:
        (first / "a").write_text("1")
        aged(first)
        with filling(tmp_path) as second:
            assert first.exists(), "another process fills it"
            (second / "b").write_text("2")
    assert names_in(tmp_path) == {"partial-mine", "a", "b"}


def test_half_an_export(tmp_path: Path) -> None:
    (tmp_path / ".export-mnist_mlp-k3j2h1x0").mkdir()
    aged(tmp_path / ".export-mnist_mlp-k3j2h1x0")
    (tmp_path / ".export-mine").mkdir()
    aged(tmp_path / ".export-mine")
    with temporary_folder(tmp_path, prefix=".export-mnist_mlp-") as fresh:
        assert names_in(tmp_path) == {".export-mine", fresh.name}
    assert names_in(tmp_path) == {".export-mine"}


# --- Half-built runs ------------------------------------------------------------------------------


def replaced(out: Path) -> None:
    with claimed(out, overwrite=True):
        pass


def test_an_old_run_that_was_moved_away_comes_back(finished_run: Path, tmp_path: Path) -> None:
    """Its process was killed between the two renames."""
    aged(Path(shutil.copytree(finished_run, tmp_path / ".run.old-0123abcd")))
    replaced(tmp_path / "run")
    assert names_in(tmp_path) == {"run"}
    assert Run(tmp_path / "run").label == "numpy"


def test_an_old_run_that_was_replaced_goes(finished_run: Path, tmp_path: Path) -> None:
    """Its process was killed while it removed the old run; a file of the user's is moved."""
    shutil.copytree(finished_run, tmp_path / "run")
    old = tmp_path / ".run.old-0123abcd"
    old.mkdir()
    (old / "history.csv").write_text("")
    (old / "mine.txt").write_text("kept")
    aged(old)
    replaced(tmp_path / "run")
    assert names_in(tmp_path) == {"run"}
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"


def test_an_old_run_stays_until_its_successor_is_complete(
    finished_run: Path, tmp_path: Path
) -> None:
    """Somebody else made the folder in its place."""
    old = Path(shutil.copytree(finished_run, tmp_path / ".run.old-0123abcd"))
    (tmp_path / "run").mkdir()
    aged(old)
    replaced(tmp_path / "run")
    assert Run(old).label == "numpy"


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        ((), False),
        (("history.csv",), True),
        (("checkpoint.safetensors",), True),
        (("mine.txt",), True),
    ],
)
def test_a_new_run_stays_if_something_in_it_is_worth_it(
    finished_run: Path, tmp_path: Path, more: tuple[str, ...], stays: bool
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    new = tmp_path / ".run.new-0123abcd"
    new.mkdir()
    for name in ("run.json", STALE, *more):
        (new / name).write_text("")
    aged(new)
    replaced(tmp_path / "run")
    assert new.exists() is stays


def test_a_new_run_that_is_being_written_stays(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    new = tmp_path / ".run.new-0123abcd"
    new.mkdir()
    with held(aged(new)):
        replaced(tmp_path / "run")
    assert new.exists()
    replaced(tmp_path / "another")
    assert new.exists(), "it is beside another run"


# --- Space and durability -------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def test_a_run_that_cannot_fit_is_refused_before_it_trains(
    cli: Cli, idx_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(10**6, 10**6, 10_000))
    words = ("--backend", "numpy", "--data-dir", idx_dir, "--epochs", 2, "--out", "run")
    done = cli(*words, "--set", "model.layer_sizes=[30,400,4]")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == (
        "error: run: at least 0.3 MB will be written there, but only 0.0 MB are free; "
        "free some space, or choose another --out"
    )
    assert names_in(tmp_path) == set(), "nothing is left"
    small = cli(*words, "--set", "model.layer_sizes=[30,2,4]")
    assert small.returncode == 0, "what may fit is tried"


def test_a_file_system_that_does_not_tell_its_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: object) -> None:
        raise OSError(errno.ENOSYS, "not here")

    monkeypatch.setattr(files.shutil, "disk_usage", unknown)
    require_space(tmp_path, 10**18)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_gets_full_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SetupError) as caught:
        write_atomically(tmp_path / "run.json", b"x", durable=True)
    assert str(caught.value) == (
        f"cannot write {tmp_path}/run.json: {os.strerror(number)}; free some space, or choose "
        f"another --out"
    )
    assert names_in(tmp_path) == set()


@pytest.mark.usefixtures("no_figures")
def test_all_files_are_on_the_disk_before_the_record_says_complete(
    cli: Cli, idx_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure must not leave a complete run with empty files."""
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        record = tmp_path / "run" / "run.json"
        status = json.loads(record.read_text())["status"] if record.exists() else ""
        synced.append((Path(f"/proc/self/fd/{handle}").readlink().name, status))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", recorded)
    words = ("--backend", "numpy", "--set", "model.layer_sizes=[30,9,4]", "--epochs", 1)
    assert cli(*words, "--data-dir", idx_dir, "--out", "run").returncode == 0
    before = {name for name, status in synced if status == "running"}
    contents = names_in(tmp_path / "run") - {"run.json"}
    assert before >= {*contents, "run"}
    assert any(name.startswith(".run.json.mnist_mlp-") for name in before)
    assert synced[-1] == ("run", "complete")
