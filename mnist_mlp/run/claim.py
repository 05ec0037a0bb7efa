"""Taking an output folder for one run, so that no two runs share it and no old run is lost.

A folder that is being written is locked (`flock` on the folder itself). The kernel releases the
lock when the process ends, however it ends: so no stale lock is left, and no file either. Where an
earlier run is to be replaced, the new one is built beside it and takes its place when it is whole;
until then the old one stays as it is.

`flock` is POSIX: on other systems two runs in one folder are not noticed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mnist_mlp.errors import SetupError, UsageError
from mnist_mlp.run.writer import OWN_FILES, check_free

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]


class Claim:
    """A folder that is ours to write.

    Parameters
    ----------
    out : Path
        What the user named.
    folder : Path
        Where to write: `out` itself, or a folder beside it that takes its place in the end.
    """

    def __init__(self, out: Path, folder: Path) -> None:
        self.out = out
        self.folder = folder

    def finish(self) -> Path:
        """Let the new run take the old one's place, and remove the old one; the folder's path.

        Files that no run wrote move to the new folder.
        """
        if self.folder == self.out:
            return self.out
        place = self.out.resolve()  # a link stays a link
        old = _beside(place, "old")
        try:
            place.rename(old)
            self.folder.rename(place)
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
def claimed(out: Path, *, overwrite: bool) -> Iterator[Claim]:
    """Take `out` for one run while the block lasts.

    Raises
    ------
    UsageError
        Another process is writing there, or the folder holds something already.
    SetupError
        It cannot be made or looked at.
    """
    check_free(out, overwrite=overwrite)
    with _locked(out):
        check_free(out, overwrite=overwrite)  # again: somebody may have been quicker
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
                    error.add_note(f"{out} is as it was; what there is of the new run: {folder}")
                raise


def new_folder(stem: str, *, parent: Path = Path("runs")) -> Path:
    """Make `parent/<time>-<stem>`, with a number behind it where another run has that name.

    Made at once, since two commands may start in the same second.
    """
    base = f"{datetime.now():%Y%m%d-%H%M%S}-{stem}"  # local time, for people
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
def _locked(folder: Path) -> Iterator[None]:
    """Make a folder if need be, and hold its lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise SetupError(f"--out {folder}: {error.strerror}; choose another folder") from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"--out {folder}: another run is being written there; choose another folder"
                ) from None
            except OSError:
                pass  # a file system without locks, as some network ones are
        yield
    finally:
        os.close(handle)


@contextmanager
def _gone_if_empty(folder: Path) -> Iterator[None]:
    """Leave no empty folder behind a run that never began."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _beside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}-{secrets.token_hex(4)}")


def _empty(old: Path, *, into: Path) -> None:
    """Remove an earlier run; what is not a run's own moves on."""
    from shutil import rmtree

    for path in sorted(old.iterdir()):
        own = path.name in (*OWN_FILES, "run.json")
        if own and path.is_dir() and not path.is_symlink():
            rmtree(path)
        elif own:
            path.unlink()
        elif not (into / path.name).exists():
            path.rename(into / path.name)
    with suppress(OSError):  # something of the same name stays where it is, and is told by its name
        old.rmdir()
