"""No two runs share a folder, an old run stays until a new one is whole, links lead nowhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.errors import SetupError, UsageError
from mnist_mlp.run.claim import claimed, claimed_for_several, new_folder
from mnist_mlp.run.folder import Run

Cli = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("no_figures")

NUMPY = ("--backend", "numpy", "--progress", "none", "--epochs", 2, "--batch-size", 32)
SMALL = ("--set", "model.layer_sizes=[30,9,4]")
STEEP = ("--learning-rate", 1e30, "--set", 'model.activations=["relu","softmax"]')


@pytest.fixture
def train(cli: Cli, idx_dir: Path) -> Cli:
    def call(*words: object) -> CompletedProcess[str]:
        return cli(*NUMPY, *SMALL, "--data-dir", idx_dir, *words)

    return call


def content_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- One folder, one run --------------------------------------------------------------------------


def test_a_folder_that_is_being_written_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with claimed(out, overwrite=False):
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="another run is being written there"):
                claimed(out, overwrite=overwrite).__enter__()
    with claimed(out, overwrite=False):
        pass
    assert not out.exists(), "a run that never began leaves nothing"


def test_one_of_two_comparisons_has_the_folder(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    """Each trains two runs below it: with one folder each, both would fail."""
    words = ("compare", "numpy", "numpy", "--set", "model.layer_sizes=[30,9,4]", "--epochs", 1)
    words += ("--data-dir", idx_dir, "--progress", "none", "--out", "both")
    with claimed_for_several(tmp_path / "both"):
        refused = cli(*words)
        assert refused.returncode == 2
        assert "--out both: another run is being written there" in refused.stderr
        assert list((tmp_path / "both").iterdir()) == []
    assert cli(*words).returncode == 0


def test_the_folder_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from mnist_mlp.run.claim import claimed\n"
        "with claimed(Path(sys.argv[1]), overwrite=False) as claim:\n"
        "    print('mine', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(UsageError, match="another run"):
            claimed(out, overwrite=False).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with claimed(out, overwrite=False) as claim:
        assert claim.folder == out


def test_default_names_are_never_shared(tmp_path: Path) -> None:
    """Four of them asked for in the same second."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_folder("tutorial-numpy", parent=tmp_path), range(24)))
    assert len(set(made)) == 24
    assert all(path.is_dir() for path in made)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="choose --out"):
        new_folder("x", parent=tmp_path / "file")


# --- Replacing a run ------------------------------------------------------------------------------


def test_the_old_run_stays_when_the_new_one_fails(train: Cli, tmp_path: Path) -> None:
    assert train("--out", "run").returncode == 0
    before = content_of(tmp_path / "run")
    done = train("--out", "run", "--overwrite", *STEEP)
    assert done.returncode == 5
    assert content_of(tmp_path / "run") == before
    (left,) = names_in(tmp_path) - {"run"}
    assert left.startswith(".run.new-")
    assert str(tmp_path / left) in done.stderr, "the folder of the unfinished new run"


def test_the_new_run_takes_the_old_one_s_place(train: Cli, tmp_path: Path) -> None:
    train("--out", "run", "--seed", 1)
    (tmp_path / "run" / "mine.txt").write_text("kept")
    (tmp_path / "run" / "export").mkdir()
    (tmp_path / "run" / "export" / "model.keras").write_text("of the old weights")
    assert train("--out", "run", "--seed", 2, "--overwrite").returncode == 0
    assert names_in(tmp_path) == {"run"}
    assert Run(tmp_path / "run").spec.seed == 2
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"
    assert not (tmp_path / "run" / "export").exists()


def test_a_link_that_is_named_stays_a_link(train: Cli, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to("disk")
    train("--out", "runs/one", "--seed", 1)
    (tmp_path / "link").symlink_to("disk/one")
    assert train("--out", "link", "--seed", 2, "--overwrite").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert Run(tmp_path / "disk" / "one").spec.seed == 2
    assert names_in(tmp_path / "disk") == {"one"}


# --- Links inside a folder ------------------------------------------------------------------------


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("five years")
    return folder


def test_replacing_a_run_deletes_nothing_behind_a_link(
    train: Cli, tmp_path: Path, precious: Path
) -> None:
    train("--out", "run")
    shutil.rmtree(tmp_path / "run" / "figures", ignore_errors=True)
    (tmp_path / "run" / "figures").symlink_to(precious)
    assert train("--out", "run", "--overwrite").returncode == 0
    assert content_of(precious) == {"thesis.txt": b"five years"}


def test_evaluating_writes_nothing_behind_a_link(
    cli: Cli, finished_run: Path, tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mnist_mlp.evaluate.figures.figure_files", lambda _: {"figures/a.svg": b"x"}
    )
    folder = tmp_path / "theirs"
    shutil.copytree(finished_run, folder)
    shutil.rmtree(folder / "figures")
    (folder / "figures").symlink_to(precious)
    done = cli("evaluate", folder)
    assert (done.returncode, "is a link" in done.stderr) == (4, True)
    assert content_of(precious) == {"thesis.txt": b"five years"}


def test_exporting_writes_nothing_through_a_link(
    cli: Cli, finished_run: Path, idx_dir: Path, tmp_path: Path, precious: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").symlink_to(precious / "thesis.txt")
    words = ("--to", "safetensors", "--data-dir", idx_dir, "--out", out)
    assert cli("export", finished_run, *words).returncode == 0
    assert content_of(precious) == {"thesis.txt": b"five years"}
    assert not (out / "model.safetensors").is_symlink()


# --- Files that no run wrote ----------------------------------------------------------------------


def test_a_report_replaces_reports_alone(cli: Cli, finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("# Mine\n")
    for name in ("thesis.md", finished_run / "run.json"):
        for words in ((), ("--overwrite",)):
            done = cli("report", finished_run, "--out", name, *words)
            assert (done.returncode, "not a report of this program" in done.stderr) == (2, True)
    assert (tmp_path / "thesis.md").read_text() == "# Mine\n"
    assert cli("report", finished_run, "--out", "page.html").returncode == 0
    done = cli("report", finished_run, "--out", "page.html")
    assert (done.returncode, "add --overwrite" in done.stderr) == (2, True)
    assert cli("report", finished_run, "--out", "page.html", "--overwrite").returncode == 0


def test_a_comparison_is_not_replaced_unasked(
    cli: Cli, finished_run: Path, idx_dir: Path, tmp_path: Path
) -> None:
    words = ("compare", finished_run, finished_run, "--static", "--data-dir", idx_dir, "--out", "c")
    assert cli(*words).returncode == 6
    before = content_of(tmp_path / "c")
    done = cli(*words)
    assert (done.returncode, "already holds compare.json" in done.stderr) == (2, True)
    assert content_of(tmp_path / "c") == before
    assert cli(*words, "--overwrite").returncode == 6


def test_a_umask_is_kept(train: Cli, tmp_path: Path) -> None:
    """Whoever says 077 means it."""
    old = os.umask(0o077)
    try:
        assert train("--out", "private").returncode == 0
    finally:
        os.umask(old)
    for path in (tmp_path / "private").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
