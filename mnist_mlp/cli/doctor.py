"""`mnist_mlp doctor`: what is broken here, and how to repair it."""

from __future__ import annotations

from typing import Annotated

import typer

from mnist_mlp.cli import options as o


def doctor(
    backend: Annotated[
        list[str],
        typer.Option(help="Ask only this backend, and fail if it is not installed; repeatable."),
    ] = [],  # noqa: B006 - Typer's way; never changed
    json: o.Json = False,
) -> None:
    """Check packages, devices, cores, space, cache and data; exit code 3 if something is broken.

    Example: python -m mnist_mlp doctor
    """
    from mnist_mlp.doctor.diagnose import diagnose
    from mnist_mlp.doctor.finding import Finding, Level
    from mnist_mlp.errors import EXIT_ENVIRONMENT, EXIT_OK
    from mnist_mlp.registry import target_of

    for name in backend:
        target_of(name)
    findings: list[Finding] = []
    for finding in diagnose(backend):
        findings.append(finding)
        if not json:
            typer.echo(f"{finding.level:<15}{finding.subject:<18}{finding.text}")
            if finding.remedy:
                typer.echo(f"{'':<33}do: {finding.remedy}")
    broken = [finding for finding in findings if finding.level is Level.broken]
    code = EXIT_ENVIRONMENT if broken else EXIT_OK
    if json:
        import json as writer
        from dataclasses import asdict

        document = {
            "schema_version": 1,
            "exit_code": code,
            "findings": [asdict(finding) for finding in findings],
        }
        typer.echo(writer.dumps(document, indent=2))
    else:
        names = ", ".join(dict.fromkeys(finding.subject for finding in broken))
        typer.echo(f"\nbroken: {names}" if broken else "\nnothing that is needed is broken")
    raise typer.Exit(code)
