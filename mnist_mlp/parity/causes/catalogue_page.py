"""The catalogue of causes as text: a page for people, and one entry for a terminal.

`python -m mnist_mlp.parity.causes.catalogue_page > docs/traps.md` writes the page anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from textwrap import fill

from mnist_mlp.parity.causes.catalogue import Entry, catalogue

WORDS = ("cannot happen", "nothing to mend", "by hand")
"""How a fix begins that is no line of code."""

ABOUT_RUNGS = {
    "spec": "What the two runs were asked to do.",
    "data": "Which rows there are, and what the network sees of them.",
    "order": "Which rows each step of each epoch takes.",
    "init": "The layers, and their weights before training.",
    "forward": "What a layer makes of its input.",
    "loss": "What the loss makes of the logits.",
    "gradient": "What is differentiated, and what becomes of it.",
    "update": "What the optimizer makes of the gradient.",
    "trajectory": "Where the run goes as a whole.",
    "metrics": "What is reported of an epoch.",
    "predictions": "Which class each test row is given.",
    "report": "The classification report.",
    "any": "Causes that have no rung of their own.",
}

_HEAD = """\
<!-- Made from catalogue.toml beside it: python -m mnist_mlp.parity.causes.catalogue_page -->

# Why a Keras model and its PyTorch port train differently

Every cause that `compare` and `check` can name, by the rung of the ladder on which it shows first:
what Keras does, what torch and Lightning do, how it looks from outside, and the line that mends it.
`python -m mnist_mlp explain CAUSE` tells the same about one of them.

The defaults are those of Keras 3.15 on TensorFlow, torch 2.14, Lightning 2.6 and torchmetrics 1.9.
In the lines of code, `layer` is a Dense or Linear layer, `model` a `keras.Model`, `self` a
LightningModule (beside `super()`, an optimizer), `x` and `y` a batch, `images` and `labels` the raw
data, `order` the positions of an epoch's rows, `scheduler` a schedule of the learning rate,
`kernel` a Keras kernel (inputs, units) and `weight` a torch weight (outputs, inputs); `nn` is
`torch.nn`, `F` is `torch.nn.functional`, `L` is
`lightning`, `tf` is `tensorflow`. Figures such as 128 and 0.01 are those of
`configs/tutorial.toml`; put your own in their place.
"""


def is_code(fix: str) -> bool:
    """Whether a fix is a line of code; else it says in words why there is none."""
    return not fix.startswith(WORDS)


def render() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    groups = [
        (rung, list(entries))
        for rung, entries in groupby(catalogue().values(), key=lambda entry: entry.rung)
    ]
    parts.append("\n".join(f"- [{rung}](#{rung}): {_names(entries)}" for rung, entries in groups))
    for rung, entries in groups:
        parts.append(f"\n## {rung}\n\n{ABOUT_RUNGS[rung]}")
        parts += [_section(entry) for entry in entries]
    return "\n".join(parts) + "\n"


def _names(entries: Iterable[Entry]) -> str:
    return ", ".join(f"[{entry.name}](#{entry.name})" for entry in entries)


def _section(entry: Entry) -> str:
    return (
        f"\n### {entry.name}\n\n"
        f"{entry.title}\n\n"
        f"- Keras: {entry.keras}\n"
        f"- torch: {entry.torch}\n"
        f"- Shows: {entry.shows}\n"
        f"- Mend it in Keras: {_marked(entry.fix_keras)}\n"
        f"- Mend it in torch: {_marked(entry.fix_torch)}"
    )


def _marked(fix: str) -> str:
    return f"`{fix}`" if is_code(fix) else fix


def entry_text(entry: Entry) -> str:
    """One cause for a terminal. Lines of code are left whole, so that they can be copied."""
    where = "any rung" if entry.rung == "any" else f"rung {entry.rung}"
    parts = (("Keras", entry.keras), ("torch", entry.torch), ("Shows", entry.shows))
    lines = [f"{entry.name} ({where})", _wrapped(entry.title), ""]
    lines += [_wrapped(f"{label}: {text}") for label, text in parts]
    lines += ["", "Mend it in Keras:", f"  {entry.fix_keras}"]
    lines += ["Mend it in torch:", f"  {entry.fix_torch}"]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return fill(text, width=88, subsequent_indent="  ", break_on_hyphens=False)


def list_text(entries: Iterable[Entry]) -> str:
    """A line for each cause: its name, its rung and what it is."""
    return "\n".join(f"{entry.name:<30} {entry.rung:<10} {entry.title}" for entry in entries)


if __name__ == "__main__":
    print(render(), end="")
