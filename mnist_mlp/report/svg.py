"""Figures for a page: Matplotlib's SVG, changed so that it can be part of an HTML page.

A page has several figures, follows the light or dark theme of the reader, and loads nothing from
outside. Therefore colours become CSS variables, and text stays text in the font of the page. Only
ids that are referred to are kept, and they begin with the name of the figure, since ids must be
unique in a page. Namespaces, metadata and the global style element are removed. The same figure
gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_ROLES = ("ink", "muted", "grid", "rule", "zero", *(f"series-{number}" for number in range(5)))
INK, MUTED, GRID, RULE, ZERO, *SERIES = (f"#0a0b{code:02x}" for code in range(len(_ROLES)))
"""Placeholder colours that no figure uses otherwise. Each is replaced by its CSS variable."""

_VARIABLE = re.compile(r"#0a0b([0-9a-f]{2})")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
TEXT_PX = 13


@dataclass(frozen=True)
class Drawing:
    """A figure for the page: its name (unique in the page), its SVG, and its text alternative."""

    name: str
    svg: str
    title: str
    text: str


@contextmanager
def page_style() -> Iterator[None]:
    """The style for drawing and saving: Matplotlib's shipped defaults, then ours."""
    ours = {
        "font.family": ["DejaVu Sans"],
        "font.size": TEXT_PX,
        "text.color": INK,
        "text.parse_math": False,  # labels of runs may contain a dollar sign
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.labelsize": TEXT_PX,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": GRID,
        "grid.linewidth": 1,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "ytick.major.size": 0,
        "figure.dpi": 72,  # one point is then one px
        "svg.fonttype": "none",  # text stays text, so that the page can choose the font
        "svg.hashsalt": "mnist_mlp",  # ids would otherwise be random
    }
    with mpl.rc_context({**mpl.rcParamsDefault, **ours}):
        yield


def sheet(width: int, height: int) -> Figure:
    """An empty, transparent figure of `width` x `height` px."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    return figure


def add_axes(figure: Figure, *, left: int, top: int, width: int, height: int) -> Axes:
    """Transparent axes at a position in px, counted from the upper left corner."""
    w, h = (round(inches * 72) for inches in figure.get_size_inches())
    axes = figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
    axes.patch.set_visible(False)
    return axes


def inline(figure: Figure, *, name: str, title: str, text: str) -> Drawing:
    """Convert a figure for the page. Call within `page_style`."""
    buffer = io.BytesIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _rename_ids(root, name)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {
        "viewBox": box,
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-text",
    }
    # The title is inserted last, since SVG wants it as the first child.
    for tag, content in (("desc", text), ("title", title)):
        element = ElementTree.Element(tag, {"id": f"{name}-{'text' if tag == 'desc' else tag}"})
        element.text = content
        root.insert(0, element)
    return Drawing(name, ElementTree.tostring(root, encoding="unicode"), title, text)


def _strip(element: ElementTree.Element) -> None:
    """Remove what HTML does not need, and use the colours and fonts of the page."""
    element.tag = _local(element.tag)
    for key in list(element.attrib):
        # Popped first, since the new key without its namespace may be the same.
        value = element.attrib.pop(key)
        if _local(key) == "style":
            value = _VARIABLE.sub(_variable, value)
            value = re.sub(r"font-family: [^;]*;? ?", "", value)
        element.attrib[_local(key)] = " ".join(value.split())
    for child in list(element):
        if _local(child.tag) in ("metadata", "style", "title"):
            element.remove(child)
            continue
        _strip(child)
        if child.tag in ("defs", "g") and not len(child):
            element.remove(child)
    if not (element.text or "").strip():
        element.text = None
    element.tail = None


def _rename_ids(root: ElementTree.Element, name: str) -> None:
    # Matplotlib gives every group an id, most of which nothing refers to. Ids that are used get
    # the name of the figure, since other figures of the page have the same ones.
    elements = list(root.iter())
    used = [
        *(target for e in elements for v in e.attrib.values() for target in _REFERENCE.findall(v)),
        *(e.attrib["href"].removeprefix("#") for e in elements if "href" in e.attrib),
    ]
    new = {old: f"{name}-{number}" for number, old in enumerate(dict.fromkeys(used), start=1)}
    for element in elements:
        old = element.attrib.pop("id", None)
        if old in new:
            element.attrib["id"] = new[old]
        for key, value in element.attrib.items():
            if key == "href":
                element.attrib[key] = "#" + new[value.removeprefix("#")]
            else:
                element.attrib[key] = _REFERENCE.sub(lambda m: f"url(#{new[m[1]]})", value)


def _variable(match: re.Match[str]) -> str:
    return f"var(--{_ROLES[int(match[1], 16)]})"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
