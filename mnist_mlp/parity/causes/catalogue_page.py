"""The catalogue of causes as text: a page for people, and one entry for a terminal.

`python -m mnist_mlp.parity.causes.catalogue_page > docs/traps.md` generates the page again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from textwrap import fill

from mnist_mlp.parity.causes.catalogue import Entry, catalogue

NOT_CODE = ("cannot happen", "nothing to fix", "by hand")
"""How a fix begins if it is a sentence and not a line of code."""

ABOUT_RUNGS = {
    "spec": "What the two runs were asked to do.",
    "data": "Which rows there are, and what the network gets of them.",
    "order": "Which rows each step of each epoch uses.",
    "init": "The layers, and their weights before training.",
    "forward": "What each layer computes from its input.",
    "loss": "What the loss computes from the logits.",
    "gradient": "How the gradient is computed, and changed before the optimizer gets it.",
    "update": "How the optimizer changes the weights.",
    "trajectory": "The weights after each epoch of the whole run.",
    "metrics": "What is reported for each epoch.",
    "predictions": "Which class each test row gets.",
    "report": "The classification report.",
    "any": "Causes that have no rung of their own.",
}

_HEAD = """\
<!-- Made from catalogue.toml beside it: python -m mnist_mlp.parity.causes.catalogue_page -->

# Why a Keras model and its PyTorch port train differently

This page lists every cause that `compare` and `check` can name. For each, it says what Keras does,
what torch and Lightning do, how the cause shows, and which line fixes it. The causes are grouped by
the rung of the ladder on which they show first. `python -m mnist_mlp explain CAUSE` shows one of
them.

The defaults are those of Keras 3.15 on TensorFlow, torch 2.14, Lightning 2.6 and torchmetrics 1.9.
In the lines of code, `layer` is a Dense or Linear layer, `model` a `keras.Model`, `self` a
LightningModule (or an optimizer, where `super()` is called), `x` and `y` a batch, `images` and
`labels` the raw data, `order` the positions of an epoch's rows, `scheduler` a schedule of the
learning rate, `kernel` a Keras kernel (inputs, units) and `weight` a torch weight (outputs,
inputs). `nn` is `torch.nn`, `F` is `torch.nn.functional`, `L` is `lightning` and `tf` is
`tensorflow`. Numbers such as 128 and 0.01 are those of `configs/tutorial.toml`; replace them by
your own.
"""


def is_code(fix: str) -> bool:
    """Whether a fix is a line of code. Otherwise it is a sentence that says why there is none."""
    return not fix.startswith(NOT_CODE)


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
        f"- Fix in Keras: {_marked(entry.fix_keras)}\n"
        f"- Fix in torch: {_marked(entry.fix_torch)}"
    )


def _marked(fix: str) -> str:
    return f"`{fix}`" if is_code(fix) else fix


def entry_text(entry: Entry) -> str:
    """One cause for a terminal. Lines of code are not wrapped, so that they can be copied."""
    where = "any rung" if entry.rung == "any" else f"rung {entry.rung}"
    parts = (("Keras", entry.keras), ("torch", entry.torch), ("Shows", entry.shows))
    lines = [f"{entry.name} ({where})", _wrapped(entry.title), ""]
    lines += [_wrapped(f"{label}: {text}") for label, text in parts]
    lines += ["", "Fix in Keras:", f"  {entry.fix_keras}"]
    lines += ["Fix in torch:", f"  {entry.fix_torch}"]

    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return fill(text, width=88, subsequent_indent="  ", break_on_hyphens=False)


def list_text(entries: Iterable[Entry]) -> str:
    """A line for each cause: its name, its rung and what it is."""
    return "\n".join(f"{entry.name:<30} {entry.rung:<10} {entry.title}" for entry in entries)


if __name__ == "__main__":
    print(render(), end="")
