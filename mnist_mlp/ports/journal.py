"""Leave a user's files as they were, whatever the user's code writes while it is judged.

A script may empty its log before it trains, and a loop may save its best weights after each epoch.
Both run here for a few steps only, so what they write must not take the place of a real result.

In a worker, an audit hook (`sys.addaudithook`, PEP 578) sees every file before Python changes it,
and puts it aside in a journal: a folder that all workers of one check share. When the workers have
ended, their parent puts the files back, and removes what was made in the current folder or the
script's.

Downloads by the usual libraries stay, and so do caches and hidden folders. Temporary files lie in a
folder of the worker's own. Native code raises no audit events. The backends report what their
frameworks write that way (`told_before`). A file that the native code of another library writes is
not seen, unless it lies in a folder that was made meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

from mnist_mlp.data.cache import cache_dir

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOURNAL = "MNIST_MLP_JOURNAL"
"""Environment variable of a worker: the journal, a folder. Without it, nothing is put aside."""

LARGEST = 2**30
"""Bytes of a file that is put aside. A larger one may not be changed."""

ENTRY = "entry.json"
CONTENT = "content"
KEPT = ".kept"

CACHES = (
    *("XDG_CACHE_HOME", "KERAS_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR"),
    *("NUMBA_CACHE_DIR", "PYTHONPYCACHEPREFIX", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
)
"""Variables that name a folder of a library's cache."""

DOWNLOADERS = (
    *("gdown.", "huggingface_hub.", "kagglehub.", "keras.src.utils.file_utils.", "pooch."),
    *("sklearn.datasets.", "tensorflow_datasets.", "torch.hub.", "torchaudio.datasets."),
    *("torchvision.datasets.", "urllib.request.", "wget."),
)
"""Beginnings of modules, each with a dot behind. What they write, or what they call, stays."""

DATA_AT_HOME = ("nltk_data", "scikit_learn_data", "tensorflow_datasets")
"""Caches in the home folder that are not hidden."""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooLargeError(PermissionError):
    """The user's code is about to change a file that is too large to put aside."""


@contextmanager
def as_they_were(say: Callable[[str], None]) -> Iterator[Path]:
    """A journal for the workers of the block; after it, all files are as they were.

    The workers must have ended by the end of the block.

    Parameters
    ----------
    say : callable
        Told in one line what was put back and what was removed, if anything was.

    Yields
    ------
    Path
        The journal.
    """
    # Never removed by anybody else: if this process is killed, the user's files lie here.
    journal = Path(tempfile.mkdtemp(prefix="mnist_mlp-files-"))
    try:
        yield journal
    finally:
        told = undo(journal)
        if told.back:
            say(f"as before again: {_some(told.back)} (--in-place lets changes stay)")
        if told.removed:
            say(f"made by the code that was judged, and removed: {_some(told.removed)}")
        if told.failed:
            say(f"could not be put back: {_some(told.failed)}; what they were is in {journal}")
        else:
            shutil.rmtree(journal, ignore_errors=True)


@dataclass
class Undone:
    """What became of the files that a user's code wrote to, as texts."""

    back: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def undo(journal: Path) -> Undone:
    """Put all files of a journal back, and remove those that were not there."""
    entries = sorted(
        (_Entry.read(path.parent) for path in journal.glob(f"*/{ENTRY}")),
        key=lambda entry: entry.path,
    )
    downloads = [Path(file.read_text(encoding="utf-8")) for file in journal.glob(f"*{KEPT}")]
    told = Undone()
    made = [entry for entry in entries if entry.kind == "absent"]
    there = [entry for entry in entries if entry.kind != "absent"]
    for entry in [*made, *there]:  # a folder before what was in it
        try:
            entry.undo(told, downloads)
        except OSError as error:
            told.failed.append(f"{entry.path} ({error.strerror})")
    return told


@dataclass(frozen=True)
class _Entry:
    """What stood at a path before: nothing ("absent"), a "file", a "link" or a "folder"."""

    folder: Path
    path: Path
    kind: str
    mode: int = 0
    size: int = 0
    time: int = 0
    target: str = ""

    @classmethod
    def read(cls, folder: Path) -> _Entry:
        found: Mapping[str, Any] = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        return cls(folder, **{**found, "path": Path(found["path"])})

    def write(self) -> None:
        self.folder.mkdir(exist_ok=True)
        own = {**vars(self), "path": str(self.path)}
        del own["folder"]
        half = self.folder / f"{ENTRY}.new"  # the worker may be killed at any time
        half.write_text(json.dumps(own), encoding="utf-8")
        half.replace(self.folder / ENTRY)

    def undo(self, told: Undone, downloads: Sequence[Path]) -> None:
        path = self.path
        if self.kind == "absent":
            if not os.path.lexists(path) or any(
                download.is_relative_to(path) for download in downloads
            ):
                return
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # with all that was made in it, by native code too
            else:
                path.unlink()
            told.removed.append(str(path))
        elif self.kind == "folder":
            if not path.is_dir():
                path.mkdir(mode=self.mode, parents=True, exist_ok=True)
                told.back.append(str(path))
        elif self.kind == "link":
            if not path.is_symlink() or str(path.readlink()) != self.target:
                path.unlink(missing_ok=True)
                path.symlink_to(self.target)
                told.back.append(str(path))
        elif not self._is_as_it_was():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / CONTENT, path)  # into the same file, of the same owner
            shutil.copystat(self.folder / CONTENT, path)
            told.back.append(str(path))

    def _is_as_it_was(self) -> bool:
        """By its size and time."""
        try:
            now = self.path.lstat()
        except FileNotFoundError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.time)


def _some(names: Sequence[str], most: int = 5) -> str:
    here = Path.cwd()
    short = [
        str(Path(name).relative_to(here)) if Path(name).is_relative_to(here) else name
        for name in names[:most]
    ]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(short) + more


def keep_journal(target: Path) -> None:
    """In a worker: from now on, put aside what this process changes, if its parent asks for that.

    Parameters
    ----------
    target : Path
        The user's file. What is made in its folder, or in the current one, will be removed.
    """
    journal = os.environ.get(JOURNAL)
    if journal and _Hook.installed is None:
        _Hook.installed = _Hook(Path(journal), [Path.cwd(), target.resolve().parent])
        sys.addaudithook(_Hook.installed.audit)


def is_kept() -> bool:
    """Whether this process keeps a journal."""
    return _Hook.installed is not None


def told_before(
    own: Callable[..., Any], path: Callable[..., Any], *, deep: bool = False
) -> Callable[..., Any]:
    """A function that writes, makes or removes by native code, and tells the journal before.

    Parameters
    ----------
    path : callable
        Given the same arguments, it says where. What is no path is no concern of the journal.
    deep : bool
        All that is in a folder there is changed, too.
    """

    @wraps(own)
    def write(*args: Any, **options: Any) -> Any:
        place = path(*args, **options)
        if _Hook.installed is not None and isinstance(place, str | bytes | os.PathLike):
            _Hook.installed.put_aside(
                _Change(Path(os.fsdecode(place)), through_links=True, deep=deep)
            )
        return own(*args, **options)

    return write


def _is_download() -> bool:
    """Whether this thread is in the code of something that downloads."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if isinstance(name, str) and f"{name}.".startswith(DOWNLOADERS):
            return True
        frame = frame.f_back
    return False


class _Hook:
    """Puts files aside before they are changed."""

    installed: _Hook | None = None

    def __init__(self, journal: Path, own: Sequence[Path]) -> None:
        self._journal = journal
        self._own = [path.resolve() for path in own]
        caches = [os.environ[name] for name in CACHES if os.environ.get(name)]
        # Not `sys.prefix`: an environment may have been made in the project's own folder.
        installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
        at_home = [Path.home() / name for name in DATA_AT_HOME]
        own_cache: list[str | Path] = [cache_dir(), *at_home]
        stays = ["/dev", "/proc", "/sys", *caches, *installed, *own_cache]
        self._temporary = Path(tempfile.gettempdir()).resolve()
        self._stays = [Path(path).expanduser().resolve() for path in stays]
        self._busy = threading.local()

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python for every event: be quick with those of no concern."""
        changed = _CHANGES.get(event)
        if changed is None or getattr(self._busy, "now", False):
            return
        # The hook's own files raise events too.
        self._busy.now = True
        try:
            for change in changed(*arguments):
                put_aside = self.put_aside(change)
                if change.source is not None and put_aside:
                    self.put_aside(change.source, always=True)
        finally:
            self._busy.now = False

    def put_aside(self, change: _Change, *, always: bool = False) -> bool:
        """Remember what stands at a path, unless that is known; with `always`, in a cache too.

        Returns
        -------
        bool
            Whether the path is one whose changes are undone.

        Raises
        ------
        OSError
            It cannot be put aside; so the user's code must not change it.
        """
        path = change.path
        path = path.resolve() if change.through_links else path.parent.resolve() / path.name
        cached = not always and self._is_cache(path, folder=change.folder)
        if cached or path.is_relative_to(self._temporary):
            return False
        busy, self._busy.now = getattr(self._busy, "now", False), True
        try:
            with self._alone():
                self._put_aside(path, deep=change.deep)
        finally:
            self._busy.now = busy
        return True

    def _is_cache(self, path: Path, *, folder: bool) -> bool:
        if any(path.is_relative_to(place) for place in self._stays):
            return True
        own = [place for place in self._own if path.is_relative_to(place)]
        parts = path.relative_to(own[0]).parts if own else path.parts
        folders = parts if folder or path.is_dir() else parts[:-1]
        return any(part.startswith(".") or part == "__pycache__" for part in folders)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The other worker may be about to change the same file."""
        if fcntl is None:
            yield
            return
        with (self._journal / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _put_aside(self, path: Path, *, deep: bool) -> None:
        folder = self._journal / _key(path)
        if (folder / ENTRY).exists():
            return
        if _is_download():
            folder.with_suffix(KEPT).write_text(str(path), encoding="utf-8")
            return
        try:
            status = path.lstat()
        except OSError:  # it is not there
            if any(path.is_relative_to(own) for own in self._own):
                _Entry(folder, path, "absent").write()
            return
        if stat.S_ISLNK(status.st_mode):
            _Entry(folder, path, "link", target=str(path.readlink())).write()
        elif stat.S_ISDIR(status.st_mode):
            _Entry(folder, path, "folder", mode=stat.S_IMODE(status.st_mode)).write()
            for inner in path.iterdir() if deep else ():
                self._put_aside(inner, deep=True)
        elif stat.S_ISREG(status.st_mode):
            if status.st_size > LARGEST:
                raise TooLargeError(
                    f"mnist_mlp lets no code that it judges change {path}: it is too large to be "
                    f"put aside ({status.st_size / 2**30:.1f} GiB). --in-place lets it"
                )
            folder.mkdir(exist_ok=True)
            shutil.copy2(path, folder / CONTENT)
            size, time = status.st_size, status.st_mtime_ns
            _Entry(folder, path, "file", size=size, time=time).write()


def _key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


@dataclass(frozen=True)
class _Change:
    """A path that is about to be changed."""

    path: Path
    through_links: bool = False
    """What a link there leads to is changed, and not the link."""
    deep: bool = False
    """So is all that is in a folder there."""
    folder: bool = False
    """A folder is made."""
    source: _Change | None = None
    """What comes to lie there. It must not be lost when that is removed again, or written to."""


Changes = Iterator[_Change]


def _path(path: Any, folder: int = -1) -> Path | None:
    """A path of an event, which may be relative to an open folder; None for an open file."""
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    found = Path(os.fsdecode(path))
    if folder >= 0 and not found.is_absolute():
        opened = Path(f"/proc/self/fd/{folder}")
        return opened.resolve() / found if opened.exists() else None
    return found


def _opened(path: Any, _: str | None, flags: int) -> Changes:
    if flags & WRITES and (found := _path(path)) is not None:
        yield _Change(found, through_links=True)


def _made(path: Any, *rest: Any) -> Changes:
    """The last argument is an open folder, or -1. What exists is not made, and an error raised."""
    found = _path(path, rest[-1])
    if found is not None and not os.path.lexists(found):
        yield _Change(found, folder=True)


def _linked(source: Any, to: Any, *folders: int) -> Changes:
    """Of a hard link, there is an open folder for each of the two; of a symbolic one, for `to`."""
    found, file = _path(to, folders[-1]), None
    if len(folders) == 2 and (linked := _path(source, folders[0])) is not None:
        file = _Change(linked)
    if found is not None and not os.path.lexists(found):
        yield _Change(found, source=file)


def _removed(path: Any, folder: int) -> Changes:
    if (found := _path(path, folder)) is not None:
        yield _Change(found)


def _renamed(source: Any, to: Any, from_folder: int, to_folder: int) -> Changes:
    moved, found = _path(source, from_folder), _path(to, to_folder)
    own = None if moved is None else _Change(moved, deep=True)
    if own is not None:
        yield own
    if found is not None:
        yield _Change(found, deep=True, source=own)


def _truncated(path: Any, _: int) -> Changes:
    if (found := _path(path)) is not None:
        yield _Change(found, through_links=True)


_CHANGES: Mapping[str, Callable[..., Changes]] = {
    "open": _opened,
    "os.link": _linked,
    "os.mkdir": _made,
    "os.remove": _removed,
    "os.rename": _renamed,
    "os.rmdir": _removed,
    "os.symlink": _linked,
    "os.truncate": _truncated,
}
