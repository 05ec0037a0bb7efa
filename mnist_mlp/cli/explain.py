"""`mnist_mlp explain`: show the catalogue entry of a cause."""

from __future__ import annotations

from typing import Annotated

import typer

from mnist_mlp.cli import options as o


def explain(
    cause: Annotated[
        str | None, typer.Argument(metavar="CAUSE", help="A cause named by compare or check.")
    ] = None,
    every: Annotated[bool, typer.Option("--list", help="List all causes.")] = False,
    json: o.Json = False,
) -> None:
    """Explain a cause: what Keras does, what torch does, how it shows, and how to fix it.

    Example: python -m mnist_mlp explain softmax_twice
    """
    from dataclasses import asdict

    from mnist_mlp.cli.output import print_json
    from mnist_mlp.errors import UsageError
    from mnist_mlp.parity.causes.catalogue import catalogue, entry
    from mnist_mlp.parity.causes.catalogue_page import entry_text, list_text

    if every == (cause is not None):
        raise UsageError("explain takes either the name of a cause or --list, not both or neither")
    if cause is None:
        entries = list(catalogue().values())
        if json:
            print_json({"schema_version": 1, "causes": [asdict(known) for known in entries]})
        else:
            typer.echo(list_text(entries))
        return
    found = entry(cause)
    if json:
        print_json({"schema_version": 1, "cause": asdict(found)})
    else:
        typer.echo(entry_text(found))
