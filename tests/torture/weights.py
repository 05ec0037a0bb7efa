"""Broken files of weights: given to `import`, and put into a run folder."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save
from torture.broken import Broken
from torture.case import ANSWERED, REFUSED, Try
from torture.spoil import npy, npy_header, npz, safetensors
from torture.world import SIZES

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

FILE = "weights.safetensors"
F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def importing(file: str, *options: str) -> tuple[str, ...]:
    """The command that imports a file of weights."""
    return ("import", file, "--layout", "keras", "--out", "new", "--set", SIZES, *options)


def _tensors(change: Callable[[Tensors], Mapping[str, Array]]) -> Callable[[bytes], bytes]:
    return lambda content: save(
        {name: np.ascontiguousarray(array) for name, array in change(load(content)).items()}
    )


def _each(change: Callable[[Array], Array]) -> Callable[[bytes], bytes]:
    return _tensors(lambda tensors: {name: change(array) for name, array in tensors.items()})


def _without(*names: str) -> Callable[[bytes], bytes]:
    return _tensors(lambda tensors: {n: a for n, a in tensors.items() if n not in names})


def _with(name: str, array: Array) -> Callable[[bytes], bytes]:
    return _tensors(lambda tensors: {**tensors, name: array})


def _one(value: float, *, dtype: str = "f4") -> Callable[[bytes], bytes]:
    """One weight has this value."""

    def change(tensors: Tensors) -> Tensors:
        changed = {name: array.astype(dtype) for name, array in tensors.items()}
        changed["layers.0.kernel"][0, 0] = value
        return changed

    return _tensors(change)


IN_BOTH: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "seven bytes": lambda c: c[:7],
    "half": lambda c: c[: len(c) // 2],
    "one byte short": lambda c: c[:-1],
    "one byte too many": lambda c: c + b"\0",
    "a header of 2^63 bytes": lambda c: b"\xff" * 8 + c[8:],
    "a header of 200 MB": lambda _: safetensors(b" " * 200, length=200_000_000),
    "a header that is no JSON": lambda _: safetensors(b"{'a': 1}"),
    "a header that is an array": lambda _: safetensors([1]),
    "a header 100,000 levels deep": lambda _: safetensors(b"[" * 100_000),
    "offsets that overlap": lambda _: safetensors({"a": F32, "b": F32}, bytes(8)),
    "offsets beyond the end": lambda _: safetensors({"a": {**F32, "data_offsets": [0, 10**9]}}),
    "negative offsets": lambda _: safetensors({"a": {**F32, "data_offsets": [-8, 0]}}, bytes(8)),
    "an unknown type": lambda _: safetensors({"a": {**F32, "dtype": "F7"}}, bytes(8)),
    "a shape of 10^40": lambda _: safetensors({"a": {**F32, "shape": [10**20, 10**20]}}, bytes(8)),
    "a shape that is negative": lambda _: safetensors({"a": {**F32, "shape": [-2]}}, bytes(8)),
    "no tensor": lambda _: safetensors({}),
    "NaN": _one(np.nan),
    "infinity": _one(np.inf),
    "NaN in float64": _one(np.nan, dtype="f8"),
    "int32": _each(lambda a: a.astype(np.int32)),
    "booleans": _each(lambda a: a > 0),
    "a bias is missing": _without("layers.1.bias"),
    "a kernel is missing": _without("layers.0.kernel"),
    "a layer is missing": _without("layers.1.kernel", "layers.1.bias"),
    "a layer more": _with("layers.2.kernel", np.zeros((4, 4), "f4")),
    "a tensor more": _with("extra", np.zeros((2, 2, 2), "f4")),
    "a name with escape codes": _with("\x1b[31mextra", np.zeros(1, "f4")),
    "a name of 1 MB": _with("n" * 10**6, np.zeros(1, "f4")),
    "20,000 tensors": lambda _: save({f"t{n}": np.zeros(1, "f4") for n in range(20_000)}),
    "other sizes": _each(lambda a: a[:-1]),
    "kernels transposed": _each(lambda a: a.T),
    "kernels flat": _each(np.ravel),
    "no columns": _each(lambda a: a[..., :0]),
    "scalars": _each(lambda a: a.ravel()[0].reshape(())),
    "a pickle": lambda _: pickle.dumps({"layers.0.kernel": [1.0]}),
    "a .pt file": lambda _: npz({"archive/data.pkl": b"\x80\x02}.", "archive/version": b"3\n"}),
    "an HDF5 file": lambda _: b"\x89HDF\r\n\x1a\n" + bytes(2000),
    "a .keras file": lambda _: npz({"metadata.json": b"{}", "model.weights.h5": b"\x89HDF"}),
    "a web page": lambda _: b"<!DOCTYPE html><html>404</html>",
}
"""Changes of a safetensors file that both `import` and every reader of a run must refuse."""

MAY_PASS = {"a tensor more", "kernels flat"}
"""What `import` may take, since the arrays can be told apart; a reader of a run may not."""


def _npz(**changes: bytes) -> Callable[[bytes], bytes]:
    """The weights as npz, some members replaced."""

    def make(content: bytes) -> bytes:
        members = {f"{name}.npy": npy(array) for name, array in load(content).items()}
        return npz({**members, **{f"{name}.npy": value for name, value in changes.items()}})

    return make


def _bomb(_: bytes) -> bytes:
    """An npz file of few megabytes that unpacks to 3 GiB."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (805306368,)}"
        member.write(npy_header(text.ljust(117) + "\n"))
        for _ in range(3 * 64):
            member.write(bytes(2**24))
    return out.getvalue()


NPZ: dict[str, Callable[[bytes], bytes]] = {
    "npz: empty": lambda _: b"",
    "npz: half": lambda c: _npz()(c)[: len(_npz()(c)) // 2],
    "npz: no member": lambda _: npz({}),
    "npz: objects": _npz(a=npy(np.array([{}], dtype=object))),
    "npz: members that are no npy": _npz(a=b"not npy"),
    "npz: a .pt file renamed": lambda _: npz({"archive/data.pkl": b"\x80\x02}."}),
    "npz: a .keras file renamed": lambda _: npz(
        {"config.json": b"{}", "model.weights.h5": b"\x89"}
    ),
    "npz: a bomb": _bomb,
    "npz: complex": lambda c: npz({f"{n}.npy": npy(a + 1j) for n, a in load(c).items()}),
    "npz: texts": lambda c: npz({f"{n}.npy": npy(a.astype("U9")) for n, a in load(c).items()}),
    "npz: 1e300": lambda c: npz(
        {f"{n}.npy": npy(np.full(a.shape, 1e300)) for n, a in load(c).items()}
    ),
    "npz: an array missing": lambda c: npz(
        {f"{n}.npy": npy(a) for n, a in load(c).items() if not n.endswith("1.bias")}
    ),
}
"""npz files for `import`, made from the run's safetensors file."""


def _file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Write the changed weights to a file outside the run."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / "run" / FILE).read_bytes()))

    return spoil


def _both(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        _file("theirs.safetensors", change)(folder)
        shutil.copyfile(folder / "theirs.safetensors", folder / "run" / FILE)

    return spoil


def _infinite_in_float32(folder: Path) -> None:
    """1e300 fits float64 only."""
    _both(_one(1e300, dtype="f8"))(folder)


def _ambiguous(folder: Path) -> None:
    """Square layers whose names say nothing of their order."""
    square = {f"{n}": np.eye(4, dtype="f4") for n in "ba"} | {n: np.zeros(4, "f4") for n in "dc"}
    (folder / "theirs.safetensors").write_bytes(save(square))


def cases() -> list[Broken]:
    """All of them."""
    in_run = [
        Try(("predict", "run", "seven.png"), names="weights"),
        Try(("evaluate", "run"), names="weights"),
        Try(("report", "run", "--out", "page.html"), names="weights"),
        Try(("export", "run", "--to", "safetensors", "--out", "out"), names="weights"),
    ]
    others = {
        "1e300 in float64": Broken(
            "1e300 in float64", _infinite_in_float32, [Try(importing("theirs.safetensors"))]
        ),
        "an unknown suffix": Broken(
            "an unknown suffix",
            _file("theirs.bin", lambda c: c),
            [Try(importing("theirs.bin"), codes=ANSWERED)],
        ),
        "a safetensors file named npz": Broken(
            "a safetensors file named npz",
            _file("theirs.npz", lambda c: c),
            [Try(importing("theirs.npz"), codes=ANSWERED)],
        ),
        "names without order": Broken(
            "names without order",
            _ambiguous,
            [Try((*importing("theirs.safetensors"), "--set", "model.layer_sizes=[30,4,4]"))],
        ),
        "missing": Broken(
            "missing", lambda _: None, [Try(importing("none.safetensors"), names="none")]
        ),
        "a folder": Broken("a folder", lambda _: None, [Try(importing("precious"))]),
    }
    return [
        *(
            Broken(
                name,
                _both(change),
                [
                    Try(
                        importing("theirs.safetensors"),
                        codes=REFUSED if name not in MAY_PASS else ANSWERED,
                    ),
                    *in_run,
                ],
            )
            for name, change in IN_BOTH.items()
        ),
        *(
            Broken(name, _file("theirs.npz", change), [Try(importing("theirs.npz"), names="npz")])
            for name, change in NPZ.items()
        ),
        *others.values(),
    ]
