"""Random inputs for every reader: only the program's own errors may leave it.

    python -m torture.fuzz FORMAT EXAMPLES SEED      (what a case runs, in a process of its own)

Inputs are mostly true files with a few changes, since a reader refuses noise at its first byte.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torture.case import OTHER, Fault, Result, Try, faults_of, result_of
from torture.process import started
from torture.world import ROOT, World

from mnist_mlp.errors import MnistMlpError

EXAMPLES = 10_000


@st.composite
def changed(draw: st.DrawFn, whole: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A true file with one to four changes: bytes flipped, removed, repeated, or put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 64))
        match draw(st.sampled_from(("flip", "remove", "repeat", "put", "cut"))):
            case "flip" if at < len(content):
                content[at] ^= draw(st.integers(1, 255))
            case "remove":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[at : at + length]
            case "put":
                content[at:at] = draw(st.one_of(st.sampled_from(tokens), st.binary(max_size=16)))
            case "cut":
                del content[at:]
    return bytes(content)


TOKENS = (
    *(b"[" * 2000, b"{" * 9, b"(" * 500, b'"', b",", b"\n", b"-1", b"9" * 5000, b"1e999", b"NaN"),
    *(b"null", b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\x80\0\0\0"),
    *(b"\x1b[2J", b"\xed\xa0\x80", b"\\ud800", b"PK\x05\x06", b"'descr'", b"|O", b"<U9"),
)
"""What parsers are known to stumble over."""


@dataclass(frozen=True)
class Format:
    """A format: a true file, its name, and the function that reads it."""

    name: str
    whole: Callable[[Path], bytes]
    read: Callable[[Path], Any]


def _run_reader(attribute: str) -> Callable[[Path], Any]:
    """Read an attribute of the run folder that the file lies in."""
    from mnist_mlp.run.folder import Run

    return lambda path: getattr(Run(path.parent, complete=False), attribute)


def _of(name: str) -> Callable[[Path], bytes]:
    return lambda run: (run / name).read_bytes()


def _picture(_: Path) -> bytes:
    from torture.pictures import saved, seven

    return saved(seven())


def _jpeg(_: Path) -> bytes:
    from torture.pictures import saved, seven

    return saved(seven(), "JPEG")


def _toml(_: Path) -> bytes:
    return (ROOT / "configs" / "tutorial.toml").read_bytes()


def _idx(_: Path) -> bytes:
    from torture.idx import header

    return header(3, 6, 5) + bytes(range(90))


def _zipped_idx(run: Path) -> bytes:
    from torture.idx import gz

    return gz(_idx(run))


def _npz_weights(run: Path) -> bytes:
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.writer import npz_bytes

    return npz_bytes(Run(run).weights)


def _read_picture(path: Path) -> Any:
    from mnist_mlp.exchange.pictures import read_picture

    return read_picture(path, (6, 5))


def _read_spec(path: Path) -> Any:
    from mnist_mlp.settings import resolve

    return resolve(config=path, environ={})


def _read_idx(path: Path) -> Any:
    from mnist_mlp.data.idx import read_idx

    return read_idx(path, ndim=3)


def _read_weights(path: Path) -> Any:
    from torture.world import small_spec

    from mnist_mlp.exchange.importing import canonical, read_weights

    return canonical(read_weights(path), small_spec(), layout="keras")


def _read_comparison(path: Path) -> Any:
    from mnist_mlp.report.comparison import read_document

    return read_document(path)


FORMATS = {
    "run.json": Format("run.json", _of("run.json"), _run_reader("spec")),
    "history.csv": Format("history.csv", _of("history.csv"), _run_reader("history")),
    "npz of a run": Format("examples.npz", _of("examples.npz"), _run_reader("examples")),
    "safetensors of a run": Format(
        "weights.safetensors", _of("weights.safetensors"), _run_reader("weights")
    ),
    "report.txt": Format("report.txt", _of("report.txt"), _run_reader("report_text")),
    "safetensors to import": Format(
        "theirs.safetensors", _of("weights.safetensors"), _read_weights
    ),
    "npz to import": Format("theirs.npz", _npz_weights, _read_weights),
    "compare.json": Format("compare.json", _of("run.json"), _read_comparison),
    "TOML": Format("theirs.toml", _toml, _read_spec),
    "IDX": Format("train-images-idx3-ubyte", _idx, _read_idx),
    "IDX, gzipped": Format("train-images-idx3-ubyte.gz", _zipped_idx, _read_idx),
    "PNG": Format("theirs.png", _picture, _read_picture),
    "JPEG": Format("theirs.jpg", _jpeg, _read_picture),
}


def check(form: Format, run: Path, *, examples: int, number: int) -> int:
    """Feed a reader; any exception but the program's own ends it. Returns how many were refused."""
    refused = 0
    path = run / form.name
    whole = form.whole(run)

    @seed(number)
    @settings(
        max_examples=examples, database=None, deadline=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.one_of(changed(whole, TOKENS), st.binary(max_size=200)))
    def read(content: bytes) -> None:
        nonlocal refused
        path.write_bytes(content)
        try:
            form.read(path)
        except MnistMlpError as error:
            refused += 1
            text = str(error)
            assert len(text) < 1000, f"an error of {len(text)} characters"
            assert all(c.isprintable() or c in "\n\t" for c in text), ascii(text)

    read()
    return refused


@dataclass(frozen=True)
class Fuzz:
    """A reader and as many inputs."""

    name: str
    seed: int

    def run(self, world: World) -> Result:
        """In a process of its own, since a parser may crash it."""
        words = (self.name, str(EXAMPLES), str(self.seed))
        with world.copied() as folder:
            paths = f"{ROOT / 'tests'}:{world.environment(folder, {})['PYTHONPATH']}"
            answer = started(
                [sys.executable, "-W", "error", "-m", "torture.fuzz", *words, str(folder / "run")],
                folder=folder,
                environment=world.environment(folder, {"PYTHONPATH": paths}),
                limit_s=300,
            )
        found = faults_of(Try(words, codes=frozenset({0}), limit_s=300), answer)
        if answer.code == 0 and int(answer.out) < EXAMPLES / 4:
            found.append(Fault(OTHER, f"only {int(answer.out)} inputs were refused"))
        return result_of(self.name, [(words, answer, found)])


def cases(number: int) -> list[Fuzz]:
    """One for each format."""
    return [Fuzz(name, number) for name in FORMATS]


if __name__ == "__main__":
    name, examples, number, run = sys.argv[1:]
    print(check(FORMATS[name], Path(run), examples=int(examples), number=int(number)))
