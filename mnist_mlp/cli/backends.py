"""`mnist_mlp backends`: the backends that are installed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from mnist_mlp.errors import MnistMlpError
    from mnist_mlp.worker.asking import Description


def backends(json: o.Json = False) -> None:
    """List the backends: versions, devices, what each supports, and how to install a missing one.

    Example: python -m mnist_mlp backends
    """
    from mnist_mlp.cli.output import print_json, tell
    from mnist_mlp.registry import installed
    from mnist_mlp.worker.asking import described

    names = installed()
    tell(f"starting {', '.join(names)}")
    found = {name: _facts(answer) for name, answer in described(names).items()}
    if json:
        print_json({"schema_version": 1, "backends": found})
        return
    width = max(map(len, found), default=0) + 2
    indent = " " * width
    for name, facts in found.items():
        if not facts["usable"]:
            typer.echo(f"{name:<{width}}not usable: {facts['problem']}")
            continue
        versions = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
        typer.echo(f"{name:<{width}}{versions}")
        typer.echo(f"{indent}devices: {', '.join(['cpu', *facts['gpus']])}")
        if facts["gpu_install"]:
            typer.echo(
                f"{indent}no GPU found, but a driver is installed: run {facts['gpu_install']}"
            )
        supports = facts["supports"]
        typer.echo(f"{indent}precision: {', '.join(supports['precisions'])}")
        typer.echo(f"{indent}activations: {', '.join(supports['activations'])}")
        features = [key for key, value in supports.items() if value is True]
        typer.echo(f"{indent}optimizers: {', '.join([*supports['optimizers'], *features])}")


def _facts(answer: Description | MnistMlpError) -> dict[str, Any]:
    from dataclasses import asdict

    from mnist_mlp.errors import MnistMlpError
    from mnist_mlp.worker.accelerator import missing_driver

    if isinstance(answer, MnistMlpError):
        return {"usable": False, "problem": str(answer)}
    capabilities, environment = answer
    # Without a driver, installing packages would not help.
    hint = "" if environment.gpus or missing_driver() else environment.gpu_install
    return {
        "usable": True,
        "versions": dict(environment.versions),
        "gpus": list(environment.gpus),
        "gpu_install": hint,
        "supports": asdict(capabilities),
    }
