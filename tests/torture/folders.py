"""Broken run folders: each file in many ways, and folders that are none."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torture.broken import Broken
from torture.case import ANSWERED, JUDGED, REFUSED, Try
from torture.spoil import (
    ANY_FILE,
    ODD_FILES,
    array_changed,
    changing,
    copied,
    json_changed,
    json_text,
    link_to,
    npy,
    npy_header,
    npz,
    replacing,
    writing,
)

Spoil = Callable[[Path], Any]

COMMANDS = {
    "evaluate": ("evaluate", "run"),
    "predict": ("predict", "run", "seven.png"),
    "report": ("report", "run", "--out", "page.html"),
    "compare": ("compare", "run/", "twin/", "--static"),
}

READERS = {
    "run.json": ("evaluate", "predict", "report", "compare"),
    "history.csv": ("evaluate", "report", "compare"),
    "weights.safetensors": ("evaluate", "predict", "report", "compare"),
    "initial_weights.safetensors": ("compare",),
    "order.npz": ("compare",),
    "predictions.npz": ("evaluate", "report", "compare"),
    "examples.npz": ("evaluate", "report", "compare"),
    "report.txt": ("compare",),
}
"""The commands that need a file, and so must refuse it when it is broken."""


def tries(file: str, *, names: str | None = None) -> list[Try]:
    """The commands that read a file, on a folder in which it is broken."""
    return [
        Try(
            COMMANDS[command],
            names=file if names is None else names,
            codes=JUDGED if command == "compare" else REFUSED,
        )
        for command in READERS[file]
    ]


def harmless(spoil: Spoil, name: str) -> Broken:
    """A change that may be accepted, if only nothing crashes."""
    return Broken(name, spoil, [Try(words, codes=ANSWERED) for words in COMMANDS.values()])


def files() -> list[Broken]:
    """Each file of a folder, unreadable in every general way."""
    cases = []
    for file in READERS:
        for name, change in ANY_FILE.items():
            # Any UTF-8 text may be a report, and a zip archive may begin with anything.
            if file == "report.txt" and name in ("empty", "one byte", "half", "zeros"):
                continue
            if file.endswith(".npz") and name == "a JPEG's beginning":
                continue
            cases.append(Broken(f"{file}: {name}", changing(f"run/{file}", change), tries(file)))
        for name, make in ODD_FILES.items():
            spoil = replacing(f"run/{file}", make)
            if (file, name) == ("history.csv", "missing"):  # imported weights have none
                cases.append(harmless(spoil, f"{file}: {name}"))
            else:
                cases.append(Broken(f"{file}: {name}", spoil, tries(file)))
    return cases


RECORDS: dict[str, bytes | Callable[[], bytes]] = {
    "an array": b"[]",
    "a text": b'"run"',
    "a number": b"1",
    "null": b"null",
    "an empty object": b"{}",
    "100,000 open brackets": b"[" * 100_000,
    "100,000 open objects": b'{"a":' * 100_000,
    "a text after it": b"{} {}",
    "NaN": b"NaN",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "single quotes": b"{'schema_version': 1}",
    "NUL bytes": b'{"schema_version":\x00 1}',
    "a text of 70 MB": lambda: b'{"schema_version": 1, "name": "' + b"x" * 70_000_000 + b'"}',
    "a million keys": lambda: json.dumps({str(n): n for n in range(10**6)}).encode(),
}

VALUES: dict[str, tuple[str, Any]] = {
    "no schema_version": ("schema_version", ...),
    "schema_version 2": ("schema_version", 2),
    "schema_version true": ("schema_version", True),
    "schema_version a text": ("schema_version", "1"),
    "schema_version deep": ("schema_version", [[]] * 1000),
    "status a number": ("status", 7),
    "status with escape codes": ("status", "\x1b[31mcomplete"),
    "backend a text": ("backend", "numpy"),
    "backend without a name": ("backend", {}),
    "backend.name a number": ("backend.name", 3),
    "backend.name with escape codes": ("backend.name", "\x1b[2Jnumpy"),
    "backend.name with a line break": ("backend.name", "num\npy"),
    "backend.name of 1 MB": ("backend.name", "n" * 10**6),
    "backend.name right to left": ("backend.name", "\u202enumpy"),
    "backend.name a lone surrogate": ("backend.name", "\ud800"),
    "spec missing": ("spec", ...),
    "spec null": ("spec", None),
    "spec an array": ("spec", []),
    "spec with an unknown key": ("spec.sede", 1),
    "spec with an unknown key of 1 MB": ("spec." + "k" * 10**6, 1),
    "spec.seed negative": ("spec.seed", -1),
    "spec.name with a slash": ("spec.name", "../../x"),
    "spec.model.layer_sizes of 10^6 layers": ("spec.model.layer_sizes", [30] * 10**6),
    "spec.model.layer_sizes of another network": ("spec.model.layer_sizes", [30, 8, 4]),
    "spec.model.layer_sizes one layer more": ("spec.model.layer_sizes", [30, 9, 9, 4]),
    "spec.model.layer_sizes 10^12 units": ("spec.model.layer_sizes", [30, 10**12, 4]),
    "spec.model.activations too many": ("spec.model.activations", ["relu", "relu", "softmax"]),
    "spec.model.activations unknown": ("spec.model.activations", ["magic", "softmax"]),
    "spec.training.epochs a text": ("spec.training.epochs", "3"),
    "spec.optimizer.learning_rate negative": ("spec.optimizer.learning_rate", -1),
    "dataset missing": ("dataset", ...),
    "dataset an array": ("dataset", []),
    "dataset.name of 1 MB": ("dataset.name", "d" * 10**6),
    "dataset.name with escape codes": ("dataset.name", "mnist\x1b]0;title\x07"),
    "dataset.name a path": ("dataset.name", ["../../etc/passwd"]),
    "dataset.image_shape one number": ("dataset.image_shape", [30]),
    "dataset.image_shape three numbers": ("dataset.image_shape", [6, 5, 1]),
    "dataset.image_shape zero": ("dataset.image_shape", [0, 5]),
    "dataset.image_shape negative": ("dataset.image_shape", [-6, -5]),
    "dataset.image_shape texts": ("dataset.image_shape", ["6", "5"]),
    "dataset.image_shape 10^9 pixels": ("dataset.image_shape", [10**9, 10**9]),
    "dataset.image_shape of other images": ("dataset.image_shape", [5, 5]),
    "dataset.classes zero": ("dataset.classes", 0),
    "dataset.classes 10^9": ("dataset.classes", 10**9),
    "dataset.classes a text": ("dataset.classes", "four"),
    "dataset.classes of other data": ("dataset.classes", 5),
    "metrics missing": ("metrics", ...),
    "metrics null": ("metrics", None),
    "metrics.accuracy missing": ("metrics.accuracy", ...),
    "metrics.loss a text": ("metrics.loss", "low"),
    "metrics.loss true": ("metrics.loss", True),
    "threads zero": ("threads", 0),
    "threads 10^9": ("threads", 10**9),
    "threads a text of 1 MB": ("threads", "x" * 10**6),
    "accelerator unknown": ("accelerator", "tpu"),
    "fit_path unknown": ("fit_path", "slow"),
    "versions an array": ("versions", ["numpy"]),
    "versions with escape codes": ("versions", {"numpy": "2\r\x1b[1m3"}),
    "machine a text": ("machine", "mine"),
    "timings with a text": ("timings", {"fit_s": "long"}),
    "flags an array": ("flags", [1]),
}

TEXTS = {
    "seed of 5,000 digits": ("spec.seed", "9" * 5000),
    "threads of 5,000 digits": ("threads", "9" * 5000),
    "classes of 5,000 digits": ("dataset.classes", "9" * 5000),
    "timings of 10^400": ("timings", '{"fit_s": 1' + "0" * 400 + "}"),
    "timings of 1e999": ("timings", '{"fit_s": 1e999}'),
    "loss 1e999": ("metrics.loss", "1e999"),
    "loss NaN": ("metrics.loss", "NaN"),
    "loss of 5,000 digits": ("metrics.loss", "9" * 5000),
    "a lone surrogate": ("device", '"\\ud800"'),
    "flags 10,000 levels deep": ("flags", '{"a": ' + "[" * 10_000 + "]" * 10_000 + "}"),
}


def records() -> list[Broken]:
    """`run.json` with other content."""
    return [
        *(
            Broken(f"run.json: {name}", writing("run/run.json", content), tries("run.json"))
            for name, content in RECORDS.items()
        ),
        *(
            Broken(
                f"run.json: {name}",
                json_changed("run/run.json", key, value),
                tries("run.json", names="run"),
            )
            for name, (key, value) in VALUES.items()
        ),
        *(
            Broken(f"run.json: {name}", json_text("run/run.json", key, text), tries("run.json"))
            for name, (key, text) in TEXTS.items()
        ),
        # An unfinished run, of which its last whole epoch is taken.
        harmless(json_changed("run/run.json", "status", "running"), "run.json: status running"),
    ]


def _objects(array: Any) -> Any:
    return np.array([{}] * len(array), dtype=object)


ARRAYS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "logits: NaN": ("predictions", "logits", lambda a: a * np.nan),
    "logits: infinity": ("predictions", "logits", lambda a: a + np.inf),
    "logits: complex": ("predictions", "logits", lambda a: a.astype(complex)),
    "logits: texts": ("predictions", "logits", lambda a: a.astype("U9")),
    "logits: dates": ("predictions", "logits", lambda a: a.astype("M8[s]")),
    "logits: booleans": ("predictions", "logits", lambda a: a > 0),
    "logits: objects": ("predictions", "logits", _objects),
    "logits: records": ("predictions", "logits", lambda a: np.zeros(len(a), "f4,f4")),
    "logits: one column": ("predictions", "logits", lambda a: a[:, :1]),
    "logits: no column": ("predictions", "logits", lambda a: a[:, :0]),
    "logits: a vector": ("predictions", "logits", lambda a: a[:, 0]),
    "logits: a number": ("predictions", "logits", lambda a: a[0, 0]),
    "logits: no rows": ("predictions", "logits", lambda a: a[:0]),
    "logits: a row less": ("predictions", "logits", lambda a: a[1:]),
    "logits: a class more": ("predictions", "logits", lambda a: np.hstack([a, a[:, :1]])),
    "y_true: a class too many": ("predictions", "y_true", lambda a: a + 200),
    "y_true: negative": ("predictions", "y_true", lambda a: a.astype(int) - 9),
    "y_true: fractions": ("predictions", "y_true", lambda a: a + 0.5),
    "y_true: a matrix": ("predictions", "y_true", lambda a: a[:, None]),
    "y_true: others": ("predictions", "y_true", lambda a: a[::-1]),
    "ids: negative": ("predictions", "ids", lambda a: a - 10**9),
    "ids: huge": ("predictions", "ids", lambda a: a + 10**15),
    "ids: fractions": ("predictions", "ids", lambda a: a + 0.5),
    "examples: images of other size": ("examples", "images", lambda a: a[:, 1:]),
    "examples: images flat": ("examples", "images", lambda a: a.reshape(len(a), -1)),
    "examples: images fractions": ("examples", "images", lambda a: a / 255),
    "examples: an id less": ("examples", "ids", lambda a: a[1:]),
    "examples: objects": ("examples", "ids", _objects),
    "order: fractions": ("order", "epochs", lambda a: a + 0.5),
    "order: out of range": ("order", "epochs", lambda a: a + 10**6),
    "order: an epoch less": ("order", "epochs", lambda a: a[1:]),
    "order: a vector": ("order", "epochs", lambda a: a[0]),
    "order: ids of others": ("order", "train_ids", lambda a: a[::-1]),
    "npy: version 9": ("predictions", "ids", lambda _: b"\x93NUMPY\x09\x00" + bytes(200)),
    "npy: empty": ("predictions", "ids", lambda _: b""),
    "npy: magic number alone": ("predictions", "ids", lambda _: b"\x93NUMPY"),
    "npy: header is code": (
        "predictions", "ids", lambda _: npy_header("__import__('os').system('touch it-ran')"),
    ),
    "npy: header 100,000 brackets": ("predictions", "ids", lambda _: npy_header("(" * 60_000)),
    "npy: header of 4 GiB": (
        "predictions", "ids", lambda _: b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(9),
    ),
    "npy: shape of 10^30": (
        "predictions", "ids",
        lambda _: npy_header(
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1" + "0" * 30 + ",)}"
        ),
    ),
    "npy: shape negative": (
        "predictions", "ids",
        lambda _: npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}"),
    ),
    "npy: shape of items without size": (
        "predictions", "ids",
        lambda _: npy_header("{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999,)}"),
    ),
}  # fmt: skip


def _bomb() -> bytes:
    """An npz file of some megabytes whose array has 3 GiB, as its header says."""
    head = npy_header(
        "{'descr': '<i8', 'fortran_order': False, 'shape': (402653184,)}".ljust(117) + "\n"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("ids.npy", "w", force_zip64=True) as member:
            member.write(head)
            for _ in range(3 * 64):
                member.write(bytes(2**24))
        for name in ("y_true", "logits"):
            archive.writestr(f"{name}.npy", npy(np.zeros((2, 2))))
    return out.getvalue()


def arrays() -> list[Broken]:
    """npz files with other arrays, and archives that are no npz files."""
    cases = [
        Broken(
            f"{file}.npz: {name}",
            array_changed(f"run/{file}.npz", array, change),
            tries(f"{file}.npz", names="run"),
        )
        for name, (file, array, change) in ARRAYS.items()
    ]
    whole = npy(np.zeros(3))
    archives: dict[str, bytes | Callable[[], bytes]] = {
        "no member": npz({}),
        "a member is missing": npz({"y_true.npy": whole, "ids.npy": whole}),
        "members that are no npy": npz(
            {f"{name}.npy": b"not npy" for name in ("y_true", "logits", "ids")}
        ),
        "members of a .pt file": npz(
            {"archive/data.pkl": b"\x80\x02}q\x00.", "archive/version": b"3"}
        ),
        "members with paths": npz({"../../precious/thesis.txt": whole, "/etc/passwd": whole}),
        "compressed by LZMA": npz(
            {f"{name}.npy": whole for name in ("y_true", "logits", "ids")},
            method=zipfile.ZIP_LZMA,
        ),
        "an array of 3 GiB": _bomb,
    }
    return cases + [
        Broken(
            f"predictions.npz: {name}",
            writing("run/predictions.npz", content),
            tries("predictions.npz"),
        )
        for name, content in archives.items()
    ]


def _line(change: Callable[[list[str]], list[str]]) -> Callable[[bytes], bytes]:
    """Change the lines of a text."""
    return lambda c: ("\n".join(change(c.decode().splitlines())) + "\n").encode("utf-8")


HISTORIES: dict[str, Callable[[bytes], bytes]] = {
    "no heading": _line(lambda lines: lines[1:]),
    "the heading alone": _line(lambda lines: lines[:1]),
    "a column is missing": _line(lambda lines: [line.rpartition(",")[0] for line in lines]),
    "epochs out of order": _line(lambda lines: [*lines[:1], *lines[:0:-1]]),
    "an epoch twice": _line(lambda lines: [*lines, lines[-1]]),
    "an epoch of 5,000 digits": _line(lambda lines: [*lines[:1], "9" * 5000 + lines[1][1:]]),
    "an epoch too few": _line(lambda lines: lines[:-1]),
    "a loss of NaN": _line(lambda lines: [lines[0], _field(lines[1], 1, "nan"), *lines[2:]]),
    "a loss of infinity": _line(lambda lines: [lines[0], _field(lines[1], 1, "inf"), *lines[2:]]),
    "a loss that is a text": _line(lambda lines: [lines[0], _field(lines[1], 1, "low")]),
    "an accuracy of 7": _line(lambda lines: [lines[0], _field(lines[1], 2, "7"), *lines[2:]]),
    "a digest of another length": _line(lambda lines: [line[:-1] for line in lines]),
    "other weights": _line(lambda lines: [*lines[:-1], _field(lines[-1], 6, "0" * 64)]),
    "NUL bytes": lambda c: c.replace(b"\n2,", b"\n\x002,"),
    "an open quote": lambda c: c.replace(b"\n2,", b'\n2,"'),
    "a field of 1 MB": lambda c: c.replace(b"\n2,", b"\n2," + b"9" * 10**6),
    "a million columns": lambda c: c.replace(b"\n2,", b"\n2" + b"," * 10**6),
    "escape codes": lambda c: c.replace(b"\n2,", b"\n\x1b[2J2,"),
    "a million lines": lambda c: c + c.splitlines()[1] + b"\n" + b"1,1\n" * 10**6,
    "digits of another script": lambda c: c.replace(b"\n2,", "\n\u0662,".encode() + b"x"),
}


def _field(line: str, number: int, value: str) -> str:
    cells = line.split(",")
    cells[number] = value
    return ",".join(cells)


OF_OTHER_WEIGHTS = ("the heading alone", "an epoch too few", "other weights")
"""Histories that are whole by themselves: `compare` sees that they do not belong to the weights."""


def histories() -> list[Broken]:
    """`history.csv` with other content."""
    return [
        *(
            Broken(
                f"history.csv: {name}",
                changing("run/history.csv", HISTORIES[name]),
                [
                    Try(COMMANDS["compare"], codes=JUDGED),
                    *(Try(COMMANDS[word], codes=ANSWERED) for word in ("evaluate", "report")),
                ],
            )
            for name in OF_OTHER_WEIGHTS
        ),
        *_unreadable_histories(),
    ]


def _unreadable_histories() -> list[Broken]:
    return [
        Broken(
            f"history.csv: {name}",
            changing("run/history.csv", change),
            tries("history.csv", names="run"),
        )
        for name, change in HISTORIES.items()
        if name not in OF_OTHER_WEIGHTS
    ]


def _instead(make: Callable[[Path], Any]) -> Spoil:
    """Something else in the place of the folder `run`."""

    def spoil(folder: Path) -> None:
        shutil.rmtree(folder / "run")
        make(folder / "run")

    return spoil


def _linked(folder: Path) -> None:
    (folder / "run" / "figures").symlink_to("../precious")


def _odd_name(folder: Path) -> None:
    (folder / "run").rename(folder / "run\x1b[31m")


def whole_folders() -> list[Broken]:
    """Folders that are no run folder, and names that lead elsewhere."""
    none = {
        "missing": _instead(lambda _: None),
        "an empty folder": _instead(Path.mkdir),
        "a file": _instead(lambda path: path.write_bytes(b"")),
        "a pipe": _instead(os.mkfifo),
        "a link to itself": _instead(link_to("run")),
        "a link to nothing": _instead(link_to("nowhere")),
        "/dev/zero": _instead(link_to("/dev/zero")),
        "the user's files": _instead(link_to("precious")),
    }
    return [
        *(
            Broken(f"folder: {name}", spoil, tries("run.json", names="run"))
            for name, spoil in none.items()
        ),
        harmless(_instead(link_to("twin")), "folder: a link to a run"),
        Broken("figures: a link", _linked, [Try(("evaluate", "run"), names="figures")]),
        harmless(
            replacing("run/report.html", link_to("../precious/thesis.txt")), "report.html: a link"
        ),
        Broken(
            "a name with escape codes",
            _odd_name,
            [Try(("evaluate", "run\x1b[31m"), codes=ANSWERED), Try(("evaluate", "ru\x1b[31m"))],
        ),
        Broken(
            "weights of another run",
            copied("run/initial_weights.safetensors", "run/weights.safetensors"),
            [Try(COMMANDS["compare"], codes=JUDGED)],
        ),
    ]


UNFINISHED = {
    "resume": ("train", "--resume", "stopped", "--progress", "none"),
    "evaluate": ("evaluate", "stopped"),
    "predict": ("predict", "stopped", "seven.png"),
    "export": ("export", "stopped", "--to", "safetensors", "--out", "out"),
}
"""What can be done with a run that was stopped after two epochs of three."""

OTHER_RUNS: dict[str, Spoil] = {
    "another seed": json_changed("stopped/run.json", "spec.seed", 4),
    "another rate": json_changed("stopped/run.json", "spec.optimizer.learning_rate", 0.1),
    "another network": json_changed("stopped/run.json", "spec.model.layer_sizes", [30, 8, 4]),
    "fewer epochs": json_changed("stopped/run.json", "spec.training.epochs", 1),
    "other data": json_changed("stopped/run.json", "dataset.sha256", "0" * 64),
    "a backend of a stranger": json_changed("stopped/run.json", "backend.target", "theirs:X"),
    "a backend that is none": json_changed("stopped/run.json", "backend.target", "os:path"),
}
"""Records that do not belong to the checkpoint beside them: no run can go on from there."""


def unfinished() -> list[Broken]:
    """Runs that were stopped, with a broken checkpoint, or with the record of another run."""
    file = "checkpoint.safetensors"
    needs = [Try(words, names=file) for words in UNFINISHED.values()]
    missing = [
        Try(UNFINISHED["resume"], names="stopped"),
        *(Try(UNFINISHED[name], codes=ANSWERED) for name in ("evaluate", "predict", "export")),
    ]
    return [
        *(
            Broken(f"stopped, {file}: {name}", changing(f"stopped/{file}", change), needs)
            for name, change in ANY_FILE.items()
        ),
        *(
            Broken(
                f"stopped, {file}: {name}",
                replacing(f"stopped/{file}", make),
                missing if name == "missing" else needs,
            )
            for name, make in ODD_FILES.items()
        ),
        Broken(
            f"stopped, {file}: the weights alone",
            copied("run/weights.safetensors", f"stopped/{file}"),
            needs,
        ),
        *(
            Broken(f"stopped, {name}", spoil, [Try(UNFINISHED["resume"], names="stopped")])
            for name, spoil in OTHER_RUNS.items()
        ),
    ]


def cases() -> list[Broken]:
    """All of them."""
    return [*files(), *records(), *arrays(), *histories(), *whole_folders(), *unfinished()]
