"""`--dry-run`: the resolved specification, the source of each value, and the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mnist_mlp.cli.output import print_json

if TYPE_CHECKING:
    from mnist_mlp.settings import Resolved
    from mnist_mlp.spec import ModelSpec


def show(resolved: Resolved, *, as_json: bool) -> None:
    """Print a resolved specification as a table or as JSON."""
    spec = resolved.spec
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "spec": spec.model_dump(mode="json"),
                "sha256": spec.digest,
                "origins": dict(resolved.origins),
                "layers": layers(spec.model),
                "parameters": spec.model.parameters,
            }
        )
        return
    content = spec.model_dump(mode="json")
    for leaf, origin in resolved.origins.items():
        section, _, key = leaf.rpartition(".")
        value = content[section][key] if section else content[key]
        typer.echo(f"{leaf:<26}{value!s:<38}{origin}")
    typer.echo("")
    typer.echo(f"{'layer':<7}{'inputs':>8}{'units':>8}  {'activation':<18}{'parameters':>12}")
    for layer in layers(spec.model):
        typer.echo(
            f"{layer['layer']:<7}{layer['inputs']:>8}{layer['units']:>8}  "
            f"{layer['activation']:<18}{layer['parameters']:>12,}"
        )
    typer.echo(f"{'total':<43}{spec.model.parameters:>12,}")


def layers(model: ModelSpec) -> list[dict[str, Any]]:
    """One row per layer, with its number of parameters."""
    return [
        {
            "layer": number,
            "inputs": inputs,
            "units": units,
            "activation": activation,
            "parameters": (inputs + 1) * units,
        }
        for number, (inputs, units, activation) in enumerate(model.layers)
    ]
