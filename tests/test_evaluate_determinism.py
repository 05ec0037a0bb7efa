"""The same evidence gives the same bytes, and a rounding changes no figure visibly.

Run as a program, this file prints the SHA-256 of every file the evaluator makes of `evidence()`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_mlp.evaluate import Evidence, History, evaluate

ROOT = Path(__file__).resolve().parents[1]
HEADING = "embedded digits, not MNIST"
FIGURES = ("curves", "confusion", "mistakes", "weights")
ALL_FILES = ["report.txt", "report.json"] + [
    f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")
]


def evidence(
    *,
    n: int = 2000,
    classes: int = 10,
    shape: tuple[int, int] = (28, 28),
    units: int = 6,
    epochs: int = 10,
    right: float = 0.9,
    heading: str | None = None,
) -> Evidence:
    """A run that looks real: noisy logits, falling loss, some mistakes, weights of 0.05."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    sure = rng.random(n) < right
    logits[np.flatnonzero(sure), y_true[sure]] += 20
    ids = rng.permutation(3 * n)[:n]
    wrong = np.flatnonzero(logits.argmax(axis=1) != y_true)
    falling = 2.3 * 0.8 ** np.arange(epochs)
    return Evidence(
        y_true=y_true,
        logits=logits,
        ids=ids,
        classes=classes,
        first_kernel=0.05 * rng.normal(size=(shape[0] * shape[1], units)),
        image_shape=shape,
        example_ids=ids[wrong][::-1],
        example_images=rng.integers(0, 256, (len(wrong), *shape), dtype=np.uint8),
        history=History(falling, 1 - falling / 3, falling * 0.95, 1 - falling / 2.9),
        heading=heading,
    )


def digests(given: Evidence) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in evaluate(given).items()}


def pixels(png: bytes) -> NDArray[np.int16]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def changed(given: Evidence, **changes: Any) -> Evidence:
    return Evidence(**{**vars(given), **changes})


def test_bytes_do_not_depend_on_process_hash_seed_or_the_users_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "stylelib").mkdir()
    hostile = (
        "font.family: serif\nfont.size: 17\nsavefig.dpi: 50\nsavefig.bbox: tight\n"
        "axes.facecolor: black\nfigure.facecolor: black\nlines.linewidth: 9\nimage.cmap: jet\n"
        "svg.fonttype: none\nsvg.hashsalt: other\naxes.prop_cycle: cycler('color', ['r'])\n"
    )
    (tmp_path / "matplotlibrc").write_text(hostile)
    (tmp_path / "stylelib" / "ggplot.mplstyle").write_text(hostile)
    here = {k: v for k, v in os.environ.items() if not k.startswith("MPL") and k != "MATPLOTLIBRC"}
    environments = [
        {**here, "PYTHONHASHSEED": "1"},
        {**here, "PYTHONHASHSEED": "2", "MPLCONFIGDIR": str(tmp_path), "TZ": "Asia/Tokyo"},
    ]
    # Side by side: each spends seconds on imports.
    running = [
        subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    expected = digests(evidence(heading=HEADING))
    assert list(expected) == ALL_FILES
    for output in outputs:
        assert json.loads(output) == expected


def test_evaluating_leaves_the_users_matplotlib_settings_alone() -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 33.0, "axes.facecolor": "black"}):
        before = dict(mpl.rcParams)
        evaluate(evidence(n=100, units=2))
        assert dict(mpl.rcParams) == before


def test_files_tell_neither_date_nor_version() -> None:
    import matplotlib
    from PIL import Image

    files = evaluate(evidence(n=200))
    for name in FIGURES:
        root = ElementTree.fromstring(files[f"figures/{name}.svg"])
        metadata = root.find("{http://www.w3.org/2000/svg}metadata")
        assert metadata is not None
        tags = {tag.tag.rpartition("}")[2] for tag in metadata.iter()}
        assert tags <= {"metadata", "RDF", "Work", "type", "format", "title"}
        assert matplotlib.__version__.encode() not in files[f"figures/{name}.svg"]
        with Image.open(io.BytesIO(files[f"figures/{name}.png"])) as image:
            assert set(image.info) == {"Title", "dpi"}


@pytest.mark.parametrize("seed", range(2))
def test_a_rounding_changes_no_report_and_no_figure_visibly(seed: int) -> None:
    # 2e-7 is the measured distance of two float32 runs. Values on a limit are planted, where an
    # axis or a colour scale that followed the last digit would jump.
    rng = np.random.default_rng(seed)

    def nudged(x: Any) -> Any:
        x = np.asarray(x, dtype=np.float64)
        return x * (1 + 2e-7 * rng.choice([-1.0, 1.0], x.shape))

    given = evidence(units=70)
    kernel = given.first_kernel.clip(-0.12, 0.12)  # more than 0.5 % lie on the scale's end
    history = History([2.5 / 1.04, 1.0], [0.5, 0.9], [2.5 / 1.04, 1.0], [0.5, 0.9])
    one = evaluate(changed(given, first_kernel=kernel, history=history))
    two = evaluate(
        changed(
            given,
            logits=nudged(given.logits),
            first_kernel=nudged(kernel),
            history=History(*(nudged(column) for column in vars(history).values())),
        )
    )
    same = ["report.txt", "report.json", *(n for n in ALL_FILES if "conf" in n or "mist" in n)]
    assert len(same) == 6
    assert all(one[name] == two[name] for name in same)
    for name in ("figures/curves.png", "figures/weights.png"):
        a, b = pixels(one[name]), pixels(two[name])
        assert a.shape == b.shape
        difference = np.abs(a - b).max(axis=2)
        assert difference.max() <= 2
        assert np.mean(difference > 0) <= 0.001


def test_a_real_difference_does_change_the_figures() -> None:
    given = evidence(n=300)
    one = evaluate(given)
    other = History(*(np.asarray(column) * 0.99 for column in vars(given.history).values()))
    two = evaluate(changed(given, first_kernel=given.first_kernel * 1.1, history=other))
    names = {name for name in ALL_FILES if one[name] != two[name]}
    assert names == {f"figures/{n}.{k}" for n in ("curves", "weights") for k in ("svg", "png")}


if __name__ == "__main__":
    print(json.dumps(digests(evidence(heading=HEADING))))
