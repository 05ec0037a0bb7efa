"""Reserve an output folder for one run, so that no two runs share it and no old run is lost.

While a run is written, its folder is locked (`flock` on the folder itself). The kernel releases the
lock when the process ends, for whatever reason. So no stale lock is left behind, and no lock file.
To replace an earlier run, the new run is written to a folder beside it, which takes its place when
the new run is complete. Until then, the old run stays unchanged.

`flock` is POSIX. Other systems don't notice two runs in one folder.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from mnist_mlp.errors import FolderInUseError, RunFolderError, SetupError
from mnist_mlp.leftovers import TEMPORARY_FILE, unheld
from mnist_mlp.readers.regular import MEMBER
from mnist_mlp.readers.texts import read_json
from mnist_mlp.run.checkpoint import CHECKPOINT_FILE
from mnist_mlp.run.files import sync
from mnist_mlp.run.writer import OWN_FILES, check_free, remove_own

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]


_NEW_RUN = re.compile(r"\.(?P<name>.+)\.new-[0-9a-f]{8}")
"""Name of the folder beside a run in which its successor is built; see `_beside`."""


class Claim:
    """A folder that this process has reserved.

    Parameters
    ----------
    out : Path
        The folder that the user named.
    folder : Path
        Where to write: `out` itself, or a folder beside it that takes its place at the end.
    """

    def __init__(self, out: Path, folder: Path) -> None:
        self.out = out
        self.folder = folder

    def finish(self) -> Path:
        """Replace the old run by the new one and return the folder's path.

        Files in the old folder that no run wrote are moved to the new one.
        """
        if self.folder == self.out:
            return self.out
        place = self.out.resolve()  # if `out` is a link, it stays one: its target is replaced
        old = _beside(place, "old")
        try:
            # The old run is removed last. Whatever fails, both runs still exist until then.
            place.rename(old)
            self.folder.rename(place)
            sync(place.parent)
            _empty(old, into=place)
        except OSError as error:
            raise SetupError(
                f"cannot replace {self.out}: {error.strerror}; the new run is in "
                f"{self.folder if self.folder.exists() else place}, the old one in "
                f"{old if old.exists() else place}"
            ) from None
        self.folder = self.out
        return self.out


@contextmanager
def claimed_to_resume(folder: Path) -> Iterator[Claim]:
    """Reserve the folder of an unfinished run during the block, to go on writing it.

    If it is the half-built new run of an interrupted `--overwrite`, it takes the place of the old
    run at the end.

    Raises
    ------
    FolderInUseError
        Another process writes to the folder.
    UsageError
        The place of the old run holds something else.
    """
    out = replaced_by(folder) or folder
    told = {"option": "--resume", "remedy": "try again when it has ended"}
    with _locked(out, **told), _gone_if_empty(out):
        if out == folder:
            yield Claim(out, folder)
            return
        check_free(out, overwrite=True)
        with _locked(folder, **told):
            yield Claim(out, folder)


def replaced_by(folder: Path) -> Path | None:
    """The run folder whose place a half-built new run takes; None for any other folder."""
    found = _NEW_RUN.fullmatch(folder.resolve().name)
    return folder.resolve().with_name(found["name"]) if found else None


@contextmanager
def claimed(out: Path, *, overwrite: bool) -> Iterator[Claim]:
    """Reserve `out` for one run during the block.

    Raises
    ------
    FolderInUseError
        Another process writes to the folder.
    UsageError
        It is not empty.
    SetupError
        The folder cannot be made or read.
    """
    _tidy(out.resolve())
    check_free(out, overwrite=overwrite)
    with _locked(out):
        # Again, now under the lock: another run may have finished here since the first check.
        check_free(out, overwrite=overwrite)
        if not (out / "run.json").exists():
            with _gone_if_empty(out):
                yield Claim(out, out)
            return
        folder = _beside(out.resolve(), "new")
        with _locked(folder), _gone_if_empty(folder):
            try:
                yield Claim(out, folder)
            except BaseException as error:
                if folder.exists() and any(folder.iterdir()):
                    error.add_note(f"{out} is unchanged; the unfinished new run is in {folder}")
                raise


@contextmanager
def claimed_for_several(folder: Path) -> Iterator[None]:
    """Keep other commands that train several runs out of a folder during the block.

    Each run claims its own folder below it. Otherwise each of two commands could claim one of them,
    and both would fail.

    Raises
    ------
    FolderInUseError
        Another command is writing there.
    """
    with _locked(folder), _gone_if_empty(folder):
        yield


def new_folder(stem: str, *, parent: Path = Path("runs")) -> Path:
    """Make the folder `parent/<time>-<stem>`; if it exists, append a number.

    The folder is made here, not later, because two commands may start in the same second.
    """
    base = f"{datetime.now():%Y%m%d-%H%M%S}-{stem}"  # local time: the name is for people
    number = 1
    while True:
        path = parent / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise SetupError(f"cannot make {path}: {error.strerror}; choose --out") from None
        else:
            return path


@contextmanager
def _locked(
    folder: Path, *, option: str = "--out", remedy: str = "choose another folder"
) -> Iterator[None]:
    """Make a folder if it does not exist, and hold its lock during the block."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise SetupError(f"{option} {folder}: {error.strerror}; {remedy}") from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderInUseError(
                    f"{option} {folder}: another run is being written there; {remedy}"
                ) from None
            except OSError:
                pass  # some network file systems have no locks
        yield
    finally:
        os.close(handle)


@contextmanager
def _gone_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folder at the end if it is empty, because the run never began."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _tidy(place: Path) -> None:
    """Finish what a killed process has begun to replace, and remove what it has just begun.

    What may be of use stays: a new run in which an epoch was finished, and an old run whose
    successor is not complete.
    """
    with suppress(OSError):
        for old in _left_beside(place, "old"):
            with unheld(old) as free:
                if free and not place.exists():
                    old.rename(place)
                elif free and _is_complete(place):
                    _empty(old, into=place)
        for new in _left_beside(place, "new"):
            with unheld(new) as free:
                names = {path.name for path in new.iterdir()}
                ours = {*OWN_FILES, "run.json"}
                foreign = {name for name in names - ours if not TEMPORARY_FILE.fullmatch(name)}
                trained = names & {CHECKPOINT_FILE, "history.csv"}
                if free and not trained and not foreign:
                    rmtree(new)


def _is_complete(folder: Path) -> bool:
    with suppress(RunFolderError, AttributeError):
        return bool(read_json(folder / "run.json", MEMBER).get("status") == "complete")
    return False


def _left_beside(place: Path, what: str) -> list[Path]:
    name = re.compile(rf"\.{re.escape(place.name)}\.{what}-[0-9a-f]{{8}}")
    return [path for path in sorted(place.parent.iterdir()) if name.fullmatch(path.name)]


def _beside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}-{secrets.token_hex(4)}")


def _empty(old: Path, *, into: Path) -> None:
    """Delete the files of an earlier run; move all other files into the new folder."""
    remove_own(old, (*OWN_FILES, "run.json"))
    for path in sorted(old.iterdir()):
        if not (into / path.name).exists():
            path.rename(into / path.name)
    # A foreign file whose name the new run uses, too, stays in the old folder, which then remains.
    with suppress(OSError):
        old.rmdir()
