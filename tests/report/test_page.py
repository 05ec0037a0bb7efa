"""The page as a document: well formed, self-contained, accessible, reproducible, safe to open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.errors import UsageError
from mnist_mlp.report import report_html
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_to_bytes

SECTIONS = ["compared", "scores", "curves", "generalisation", "ladder", "confusion", "digits"]
SECTIONS += ["weights", "timing", "port-map"]


def test_every_part_in_its_order(example: Any) -> None:
    page = example.page
    assert [node.attributes["id"] for node in page.all("section")] == SECTIONS
    assert [link.attributes["href"] for link in page.one("nav").all("a")] == [
        f"#{name}" for name in SECTIONS
    ]
    headings = [int(n.tag[1]) for n in page.inside if re.fullmatch("h[1-6]", n.tag)]
    assert headings.count(1) == 1
    assert headings[0] == 1
    assert all(deeper - higher <= 1 for higher, deeper in pairwise(headings))


def test_the_first_screenful_has_verdict_accuracies_and_one_figure(
    example: Any,
) -> None:
    first = example.page.one("header")
    assert first.one("h1").text.startswith("Faithful")
    told = dict(
        zip((n.text for n in first.all("dt")), (n.text for n in first.all("dd")), strict=True)
    )
    assert told == {run.label: f"{100 * _accuracy(run):.2f} %" for run in example.twins.runs}
    assert len(first.all("svg")) == 1


def _accuracy(run: Run) -> float:
    arrays = run.predictions
    return float((arrays["logits"].argmax(axis=1) == arrays["y_true"]).mean())


def test_nothing_is_loaded_and_nothing_runs(example: Any) -> None:
    page, differing = example.page, example.content
    assert "http" not in differing.replace("http-equiv", "")
    assert not page.all("script") + page.all("link") + page.all("iframe") + page.all("object")
    for node in page.inside:
        assert not any(key.startswith("on") for key in node.attributes), node
        for key in ("src", "href", "data", "action", "poster", "xlink:href", "srcset"):
            value = node.attributes.get(key, "#")
            assert value.startswith("#" if key == "href" else ("#", "data:image/png;base64,"))
    assert re.findall(r"@import|url\((?!#)", differing) == []
    policy = next(n for n in page.all("meta") if "http-equiv" in n.attributes)
    assert policy.attributes["content"].startswith("default-src 'none';")


def test_every_reference_has_its_one_target(example: Any) -> None:
    page, differing = example.page, example.content
    ids = [node.attributes["id"] for node in page.inside if "id" in node.attributes]
    assert len(ids) == len(set(ids)) > 20
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', differing))
    for node in page.inside:
        for key in ("aria-labelledby", "aria-describedby", "headers", "for"):
            used |= set(node.attributes.get(key, "").split())
    assert used <= set(ids)


def test_pictures_have_words_and_tables_have_headers(example: Any) -> None:
    page = example.page
    assert page.one("html").attributes["lang"] == "en"
    figures = page.all("svg")
    assert len(figures) == 4
    for figure in figures:
        assert figure.attributes["role"] == "img"
        assert figure.one("title").text
        assert re.search(r"\d", figure.one("desc").text)
        assert "right" in figure.one("desc").text  # each run's name
    pictures = page.all("img")
    assert len(pictures) == 5  # three flipped digits, two first layers
    assert all(len(picture.attributes["alt"]) > 8 for picture in pictures)
    tables = page.all("table")
    assert len(tables) >= 8
    for table in tables:
        assert table.one("caption").text
        assert all(
            head.attributes["scope"] in ("col", "row", "colgroup") for head in table.all("th")
        )
        for row in table.one("tbody").all("tr"):
            assert row.all("th")[0].attributes["scope"] == "row"
            assert row.all("th")[0].text
    for box in page.all("div", "scroll"):  # reachable by keyboard, and named
        assert (box.attributes["tabindex"], box.attributes["role"]) == ("0", "region")
        assert box.attributes["aria-label"]


def test_light_dark_print_and_phone(example: Any) -> None:
    differing = example.content
    for rule in ("screen and (prefers-color-scheme: dark)", "print", "(max-width: 760px)"):
        assert f"@media {rule}" in differing
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in differing
    style = differing[differing.index("<style>") : differing.index("</style>")]
    used = set(re.findall(r"var\((--[\w-]+)\)", differing))
    assert used <= set(re.findall(r"(--[\w-]+):", style)), "a colour that no theme defines"
    assert not re.findall(r"#0a0b\w\w", differing)


def test_same_folders_same_bytes_in_every_process(twins: Any, tmp_path: Path) -> None:
    twins.put_right(rows=2)
    twins.compared("equivalent")
    paths = [str(run.path) for run in twins.runs]
    program = (
        "import sys; from pathlib import Path; from mnist_mlp.run.folder import Run; "
        "from mnist_mlp.report import write_report; out, *runs = map(Path, sys.argv[1:]); "
        "write_report([Run(run) for run in runs], out=out); "
        "frameworks = {'tensorflow', 'keras', 'torch', 'lightning'} & sys.modules.keys(); "
        "sys.exit(f'loaded {frameworks}' if frameworks else 0)"
    )
    ours = report_html(twins.runs).encode()
    out = tmp_path / "theirs.html"
    environment = os.environ | {"PYTHONHASHSEED": "1", "TZ": "UTC-5", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", program, str(out), *paths], env=environment, check=True)
    assert out.read_bytes() == ours
    assert len(ours) < 3_000_000


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>$x^2$&amp;"
"""No surrogate and no control character: those are refused where a folder is read."""


def test_names_cannot_inject_markup(twins: Any, read_page: Any, tmp_path: Path) -> None:
    """Whatever a stranger's folder says is shown as text, in the page and in its figures."""

    def poison(record: dict[str, Any]) -> None:
        record["backend"] = {"name": HOSTILE, "target": HOSTILE}
        record["dataset"]["source"] = HOSTILE
        record |= {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}, "started": HOSTILE}
        record |= {"flags": {HOSTILE: [HOSTILE]}, "machine": {"python": HOSTILE}}

    twins.put_right(rows=1)
    twins.edit("right", poison)
    from mnist_mlp.parity.findings import Break, Cause, Place

    cause = Cause(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    broken = Break(
        side="b",
        rung="init",
        place=Place(epoch=1, step=1, layer=0, tensor=HOSTILE),
        size=2.0,
        got=HOSTILE,
        expected=HOSTILE,
        cause=cause,
        batch=HOSTILE,
    )
    twins.compared("different", text=HOSTILE, breaks=(broken,), not_exercised=(HOSTILE,))
    page = report_html(twins.runs)
    read = read_page(page)
    assert not read.all("script")
    assert all(node.attributes.get("src", "data:").startswith("data:") for node in read.all("img"))
    assert not any("onerror" in node.attributes for node in read.inside)
    assert page.count("&lt;script&gt;") > 20
    assert HOSTILE in read.one("h1").text
    assert any(HOSTILE in node.text for node in read.all("desc"))
    page.encode(errors="replace")


def test_a_hostile_specification_is_refused(twins: Any) -> None:
    twins.edit("right", lambda record: record["spec"].update(name="<b>bold</b>"))
    with pytest.raises(Exception, match=r"run\.json: spec: name = '<b>bold</b>'"):
        report_html(twins.runs)


@pytest.mark.parametrize(
    ("name", "heading"),
    [("digits", "Embedded digits, not MNIST"), ("idx", "IDX files, not MNIST"), ("mnist", "")],
)
def test_data_that_are_not_mnist_are_named_in_the_heading(
    twins: Any, read_page: Any, name: str, heading: str
) -> None:
    twins.edit("left", lambda record: record["dataset"].update(name=name))
    header = read_page(report_html(twins.runs[:1])).one("header")
    assert [node.text for node in header.all("strong", "heading")] == ([heading] if heading else [])


def test_one_run_alone(finished_run: Path, read_page: Any) -> None:
    page = read_page(report_html([Run(finished_run)]))
    names = [node.attributes["id"] for node in page.all("section")]
    assert names == [name for name in SECTIONS if name != "ladder"]
    assert re.fullmatch(
        r"numpy classifies \d\d\.\d\d % of the test rows correctly\.", page.one("h1").text
    )
    assert "differ" not in page.by_id("scores").text
    assert len(page.by_id("confusion").all("table", "matrix")) == 1


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_the_way_of_fitting_is_told(twins: Any, read_page: Any, path: str) -> None:
    for name in ("left", "right"):
        twins.edit(name, lambda record: record.update(fit_path=path))
    row = f"Fit path {path}"
    assert row in read_page(report_html(twins.runs)).by_id("compared").text
    for name in ("left", "right"):
        twins.edit(name, lambda record: record.pop("fit_path"))
    assert "Fit path" not in read_page(report_html(twins.runs)).by_id("compared").text


def test_weights_without_a_history(twins: Any, read_page: Any) -> None:
    """Imported weights have none; the other run's curves are drawn all the same."""
    (twins.folder / "right" / "history.csv").unlink()
    page = read_page(report_html(twins.runs))
    assert "right" not in page.by_id("curves").one("ul", "legend").text
    assert "The run has no history" in page.by_id("generalisation").text
    page = read_page(report_html(twins.runs[1:]))
    assert not page.all("svg")


def test_other_classes_are_refused(twins: Any) -> None:
    path = twins.folder / "right" / "predictions.npz"
    arrays = dict(np.load(path))
    arrays["logits"] = np.pad(arrays["logits"], ((0, 0), (0, 1)), constant_values=-9)
    np.savez(path, **arrays)
    weights = dict(twins.runs[1].weights)
    for name in ("layers.1.kernel", "layers.1.bias"):
        weights[name] = np.concatenate([weights[name], weights[name][..., :1]], axis=-1)
    (twins.folder / "right" / "weights.safetensors").write_bytes(tensors_to_bytes(weights))

    def edit(record: Any) -> None:
        record["dataset"]["classes"] = 5
        record["spec"]["model"]["layer_sizes"] = [30, 9, 5]

    twins.edit("right", edit)
    with pytest.raises(
        UsageError, match=r"right has 5 classes, .*left has 4: make a report of each"
    ):
        report_html(twins.runs)
