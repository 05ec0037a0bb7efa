"""Two run folders that can be made to differ, comparisons of them, and a reader of pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.evaluate.report import report_text
from mnist_mlp.parity.findings import RUNGS
from mnist_mlp.parity.outcome import NamedSide, Outcome, Predictions, Rung
from mnist_mlp.report import report_html
from mnist_mlp.run.evaluation import evidence
from mnist_mlp.run.folder import Run

VOID = {"meta", "img", "br", "link", "input", "hr", "base", "embed", "wbr"}


@dataclass
class Node:
    """An element: its attributes, its text with that of everything inside, its descendants."""

    tag: str
    attributes: dict[str, str]
    inside: list[Node] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def all(self, tag: str, of: str | None = None) -> list[Node]:
        return [n for n in self.inside if n.tag == tag and (of is None or of in n.classes)]

    def one(self, tag: str, of: str | None = None) -> Node:
        (found,) = self.all(tag, of)
        return found

    def by_id(self, name: str) -> Node:
        (found,) = [node for node in self.inside if node.attributes.get("id") == name]
        return found


class Reader(HTMLParser):
    """A strict parser: every end tag must close the element that is open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def _add(self, tag: str, attributes: list[tuple[str, str | None]]) -> Node:
        assert len(attributes) == len({key for key, _ in attributes}), f"{tag}: twice an attribute"
        node = Node(tag, {key: value or "" for key, value in attributes})
        for parent in self.open:
            parent.inside.append(node)
        return node

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = self._add(tag, attrs)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for node in self.open:
            node.texts.append(data)


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Node]:
    """The tree of a page, with every element closed properly."""

    def read(content: str) -> Node:
        reader = Reader()
        reader.feed(content)
        reader.close()
        assert [node.tag for node in reader.open] == [""]
        return reader.root

    return read


Change = Callable[[dict[str, Any]], object]


class Twins:
    """Copies of one finished run, called `left` and `right`, equal until they are changed."""

    def __init__(self, origin: Path, folder: Path) -> None:
        self.folder = folder
        for name in ("left", "right"):
            shutil.copytree(origin, folder / name)
            self.edit(name, lambda record, name=name: record["backend"].update(name=name))  # type: ignore[misc]

    @property
    def runs(self) -> list[Run]:
        return [Run(self.folder / name) for name in ("left", "right")]

    def edit(self, name: str, change: Change) -> None:
        """Change a `run.json`."""
        path = self.folder / name / "run.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    def put_right(self, *, rows: int) -> list[int]:
        """Let `right` be right about rows on which both were wrong; their positions."""
        path = self.folder / "right" / "predictions.npz"
        arrays = dict(np.load(path))
        wrong = np.flatnonzero(arrays["logits"].argmax(axis=1) != arrays["y_true"])[:rows]
        assert len(wrong) == rows
        arrays["logits"][wrong, arrays["y_true"][wrong]] = arrays["logits"].max() + 5
        np.savez(path, **arrays)
        report = report_text(evidence(Run(self.folder / "right")))
        (self.folder / "right" / "report.txt").write_text(report)
        return [int(row) for row in wrong]

    def outcome(self, verdict: Any, **more: Any) -> Outcome:
        """A comparison of the two as `compare` would hold it."""
        left, right = self.runs
        differ = left.predictions["logits"].argmax(1) != right.predictions["logits"].argmax(1)
        rungs = tuple(
            Rung(name=name, status="clean", margin=0.25)
            if name == "forward"
            else Rung(name=name, status="clean", compared=7)
            for name in RUNGS
        )
        known: dict[str, Any] = {
            "text": f"said of {verdict}",
            "sides": {
                side: NamedSide(label=run.label, path=str(run.path))
                for side, run in (("a", left), ("b", right))
            },
            "rungs": rungs,
            "predictions": Predictions(total=len(differ), different=int(differ.sum())),
            "report_identical": not differ.any(),
        }
        return Outcome(verdict=verdict, **(known | more))

    def compared(self, verdict: Any, **more: Any) -> None:
        """Write `compare.json` beside the two."""
        document = self.outcome(verdict, **more).document()
        (self.folder / "compare.json").write_text(json.dumps(document))


@pytest.fixture
def twins(finished_run: Path, tmp_path: Path) -> Twins:
    """Two equal runs in one folder."""
    return Twins(finished_run, tmp_path / "both")


@dataclass(frozen=True)
class Example:
    """A page on which much happens: flipped digits, marked cells, a comparison."""

    twins: Twins
    flipped: list[int]
    content: str
    page: Node


@pytest.fixture(scope="session")
def example(
    finished_run: Path,
    tmp_path_factory: pytest.TempPathFactory,
    read_page: Callable[[str], Node],
) -> Example:
    """Made once; not to be changed."""
    twins = Twins(finished_run, tmp_path_factory.mktemp("example"))
    flipped = twins.put_right(rows=3)
    twins.compared("equivalent")
    content = report_html(twins.runs)
    return Example(twins, flipped, content, read_page(content))
