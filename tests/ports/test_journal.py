"""Files of a user are as they were, whatever the user's code writes while it is judged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.data import load_dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check.port import check_port
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.ports.journal import JOURNAL, as_they_were, undo
from mnist_mlp.spec import parse_spec

STATES = {
    "results.csv": "epoch,loss\n1,0.5\n",
    "old/a.txt": "a",
    "old/deep/b.txt": "b",
    "old/empty/": "",
    "weights.bin": "best",
    ".hidden/kept.txt": "kept",
}

# Each is run in a folder with these files, and `elsewhere` beside it.
CHANGES = {
    "emptied": "open('results.csv', 'w').write('lost')",
    "emptied as bytes": "open(b'results.csv', 'wb').close()",
    "by its number": "f = os.open('results.csv', os.O_WRONLY | os.O_TRUNC); os.close(f)",
    "appended": "open('results.csv', 'a').write('2,0.4')",
    "changed within": "f = open('results.csv', 'r+'); f.write('X'); f.close()",
    "through pathlib": "Path('results.csv').write_text('lost')",
    "through NumPy": "import numpy; numpy.save('weights.bin', numpy.zeros(3))",
    "made": "open('new.txt', 'w').write('new')",
    "made in a new folder": "os.makedirs('runs/one'); open('runs/one/log', 'w').close()",
    "a folder that exists": "os.makedirs('old', exist_ok=True); open('old/c', 'w').close()",
    "removed": "os.remove('old/a.txt')",
    "unlinked": "Path('results.csv').unlink()",
    "a tree removed": "shutil.rmtree('old')",
    "a folder removed": "os.rmdir('old/empty')",
    "renamed": "os.rename('results.csv', 'results.old')",
    "replaced": "open('tmp', 'w').close(); os.replace('tmp', 'results.csv')",
    "a folder renamed": "os.rename('old', 'new')",
    "moved away": "shutil.move('old', '../elsewhere/old')",
    "truncated": "os.truncate('results.csv', 3)",
    "linked": "os.symlink('results.csv', 'latest'); open('latest', 'w').close()",
    "a hard link": "os.link('results.csv', 'same')",
    "through a hard link": "os.link('results.csv', 'same'); open('same', 'w').close()",
    "out of a hidden folder": "os.rename('.hidden/kept.txt', 'kept.txt')",
    "a hidden folder shown": "os.rename('.hidden', 'shown')",
    "outside": "open('../elsewhere/there.txt', 'w').write('lost')",
    "in another folder": "os.chdir('old'); open('../results.csv', 'w').close()",
    "in a thread": "t = Thread(target=open, args=('weights.bin', 'w')); t.start(); t.join()",
    "twice": "open('results.csv', 'w').write('1'); open('results.csv', 'w').write('22')",
    "only read": "assert open('results.csv').read().startswith('epoch')",
    "made again": "shutil.rmtree('old'); os.mkdir('old'); open('old/a.txt', 'w').close()",
}


def project_in(parent: Path) -> Path:
    """A user's folder, with another and an empty journal beside it."""
    folder = parent / "project"
    for name, text in STATES.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (parent / "elsewhere").mkdir()
    (parent / "elsewhere" / "there.txt").write_text("there")
    (parent / "journal").mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_in(tmp_path)


def seen(folder: Path) -> dict[str, object]:
    """Names, contents and times of all that is in a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
        if folder / "journal" not in (path, *path.parents)
        and folder / "temporary" not in (path, *path.parents)
    }


def run(project: Path, code: str, *, journal: bool = True) -> None:
    """Run code in a process that keeps a journal, in a project folder."""
    start = """
        import os, shutil, sys
        from pathlib import Path
        from threading import Thread
        from mnist_mlp.ports.journal import keep_journal
        keep_journal(Path("script.py"))
    """
    temporary = project.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    if journal:
        environment[JOURNAL] = str(project.parent / "journal")
    command = [sys.executable, "-B", "-c", f"{textwrap.dedent(start)}\n{textwrap.dedent(code)}"]
    subprocess.run(command, cwd=project, env=environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def all_changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    """All that is in each folder before its change, after it, and when that is undone."""
    parent = tmp_path_factory.mktemp("changes")
    above = project_in(parent)
    folders = {change: above / f"{number}" for number, change in enumerate(CHANGES)}
    for folder in folders.values():
        folder.mkdir()
        project_in(folder)
    states = {change: [seen(folder)] for change, folder in folders.items()}
    code = [f"os.chdir({str(folders[name] / 'project')!r}); {CHANGES[name]}" for name in CHANGES]
    run(above, "\n".join(code))
    for change, folder in folders.items():
        states[change].append(seen(folder))
    assert not undo(parent / "journal").failed
    for change, folder in folders.items():
        states[change].append(seen(folder))
    return states


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_undone(all_changes: dict[str, list[dict[str, object]]], change: str) -> None:
    before, after, undone = all_changes[change]
    assert (after == before) == (change == "only read")
    assert undone == before


def test_without_a_journal_changes_stay(project: Path) -> None:
    run(project, CHANGES["emptied"], journal=False)
    assert (project / "results.csv").read_text() == "lost"
    assert not list((project.parent / "journal").iterdir())


def test_a_link_is_put_back(project: Path) -> None:
    (project / "latest").symlink_to("results.csv")
    run(project, "os.remove('latest'); open('latest', 'w').close()")
    undo(project.parent / "journal")
    assert str((project / "latest").readlink()) == "results.csv"
    assert (project / "results.csv").read_text() == STATES["results.csv"]


def test_both_sides_change_one_file(project: Path) -> None:
    """The second finds what the first has written; that is not what stood there."""
    run(project, "open('results.csv', 'w').write('first'); os.makedirs('runs')")
    run(project, "open('results.csv', 'w').write('second'); open('runs/log', 'w').close()")
    undo(project.parent / "journal")
    assert (project / "results.csv").read_text() == STATES["results.csv"]
    assert not (project / "runs").exists()


def test_an_entry_that_was_not_finished_is_none(project: Path) -> None:
    """Its worker was killed before the file was changed."""
    run(project, "open('results.csv', 'w').close()")
    (project.parent / "journal" / "half").mkdir()
    (project.parent / "journal" / "half" / "entry.json.new").write_text('{"path"')
    assert undo(project.parent / "journal").back == [str(project / "results.csv")]


def test_downloads_caches_and_hidden_folders_stay(project: Path) -> None:
    run(
        project,
        """
        from urllib.request import urlretrieve
        os.makedirs('data')
        os.makedirs('nothing')
        urlretrieve(Path('weights.bin').resolve().as_uri(), 'data/rows.bin')
        os.makedirs('.cache')
        open('.cache/one', 'w').close()
        open('data/mine.txt', 'w').close()
        """,
    )
    undo(project.parent / "journal")
    assert (project / "data" / "rows.bin").read_text() == "best"
    assert not (project / "nothing").exists()
    assert not (project / "data" / "mine.txt").exists()
    assert (project / ".cache" / "one").exists()


def test_a_file_too_large_may_not_be_changed(project: Path) -> None:
    with (project / "large.bin").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(subprocess.CalledProcessError):
        run(project, "open('large.bin', 'a').write('x')")
    assert (project / "large.bin").stat().st_size == 2**30 + 1


def test_what_was_undone_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    told: list[str] = []
    with as_they_were(told.append) as journal:
        shutil.rmtree(project.parent / "journal")
        (project.parent / "journal").symlink_to(journal)
        run(project, "open('results.csv', 'w').close(); os.makedirs('runs')")
    assert told == [
        "as before again: results.csv (--in-place lets changes stay)",
        "made by the code that was judged, and removed: runs",
    ]
    assert not journal.exists()


KERAS = """
    import os, numpy as np, keras, tensorflow as tf
    os.makedirs("logs", exist_ok=True)
    open("results.csv", "w").write("lost")
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    y = x.sum(1, keepdims=True)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.save("model.keras")
    model.save_weights("best.weights.h5")
    with tf.io.gfile.GFile("native.txt", "w") as file:
        file.write("lost")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=16, epochs=2, shuffle=False)
"""
TORCH = """
    import numpy as np, torch
    from torch import nn
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 3)).astype("float32"))
    y = x.sum(1, keepdim=True)
    model = nn.Linear(3, 1)
    nn.init.xavier_uniform_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        for start in range(0, 64, 16):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x[start:start + 16]), y[start:start + 16])
            loss.backward()
            optimizer.step()
        torch.save(model.state_dict(), "best.pt")
"""
NATIVE = ("best.pt", "best.weights.h5", "native.txt")


def test_scripts_cost_a_user_no_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for name, code in (("train_keras.py", KERAS), ("train_torch.py", TORCH)):
        (project / name).write_text(textwrap.dedent(code))
    for name in NATIVE:
        (project / name).write_text("trained for a week")
    before = seen(project)
    told: list[str] = []
    checked = check_port(
        parse_target("train_torch.py"),
        original=parse_target("train_keras.py"),
        spec=parse_spec({}),
        dataset=load_dataset("digits"),
        say=told.append,
    )
    assert checked.outcome.verdict == "identical"
    assert seen(project) == before
    assert told[-2:] == [
        f"as before again: {', '.join([*NATIVE, 'results.csv'])} (--in-place lets changes stay)",
        "made by the code that was judged, and removed: logs, model.keras",
    ]


def test_in_place_no_journal_is_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., CompletedProcess[str]]
) -> None:
    """The option reaches the workers: none is told of a journal."""
    given: list[Path | None] = []

    def worker(*_: object, journal: Path | None = None, **__: object) -> None:
        given.append(journal)
        raise UsageError("not started")

    monkeypatch.setattr("mnist_mlp.parity.check.port.Worker", worker)
    (project / "port.py").write_text("import torch\n")
    for options in ([], ["--in-place"]):
        assert (
            cli("check", project / "port.py:Net", "--dataset", "digits", *options).returncode == 2
        )
    assert given[0] is not None
    assert given[1] is None
