"""`mnist_mlp check`: judge a user's port against its original or a specification."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnist_mlp.data import Dataset
    from mnist_mlp.parity.check.port import Checked
    from mnist_mlp.parity.check.read_spec import ReadSpec


_NATIVE = "Many runs"


class Format(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def check(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[ORIGINAL] PORT",
            help="FILE.py:NAME, a model or what makes one; or a script that trains one, FILE.py "
            "or FILE.ipynb (FILE.py:2 for its second training).",
        ),
    ],
    config: o.Config = None,
    assignments: o.Assignments = [],  # noqa: B006 - Typer's way; never changed
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = None,
    precision: o.PrecisionOption = None,
    dataset: o.DatasetOption = None,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    threads: o.Threads = o.DEFAULT_THREADS,
    image_shape: Annotated[
        str | None, typer.Option(help="Shape of one input, such as 1,28,28; flat by default.")
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="keras or torch, if the imports don't show it.")
    ] = None,
    args_a: Annotated[
        str, typer.Option("--args-a", metavar="TEXT", help="Arguments of the original's script.")
    ] = "",
    args_b: Annotated[
        str, typer.Option("--args-b", metavar="TEXT", help="Arguments of the port's script.")
    ] = "",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Which model, where scripts train several: a variable, the model's own name, or "
            "its class.",
        ),
    ] = "",
    model_a: Annotated[
        str, typer.Option("--model-a", metavar="NAME", help="Of the original's script alone.")
    ] = "",
    model_b: Annotated[
        str, typer.Option("--model-b", metavar="NAME", help="Of the port's script alone.")
    ] = "",
    cost: Annotated[
        bool,
        typer.Option(
            "--cost", help="Also train both sides freely, and show what the difference costs."
        ),
    ] = False,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="Train both freely with many seeds, and judge whether they reach one accuracy.",
            rich_help_panel=_NATIVE,
        ),
    ] = False,
    seeds: Annotated[
        str | None,
        typer.Option(help="With --native [default: 0:20].", rich_help_panel=_NATIVE),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="With --native: the largest difference that is none [default: 0.01].",
            rich_help_panel=_NATIVE,
        ),
    ] = None,
    print_spec: Annotated[
        bool,
        typer.Option("--print-spec", help="Show the specification of the original and stop."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for check.json and report.html, one HTML page.")
    ] = None,
    overwrite: o.Overwrite = False,
    timeout: o.Timeout = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Let stay what the code that is judged writes; else all files are put back.",
        ),
    ] = False,
    sarif: Annotated[
        Path | None, typer.Option(help="A file for the result in SARIF 2.1.0, for code scanning.")
    ] = None,
    verbose: o.Verbose = False,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", help="text (the default), json, or github: annotations of a workflow."
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Say whether a port is faithful, or where it first differs and why; exit code 1 if it differs.

    Example: python -m mnist_mlp check examples/textbook_port.py:TextbookPort --cost
    """
    from mnist_mlp.cli.output import tell
    from mnist_mlp.errors import UsageError
    from mnist_mlp.parity.check.port import check_port, original_spec
    from mnist_mlp.parity.check.target import parse_target
    from mnist_mlp.ports.user_code import is_script

    if not 1 <= len(models) <= 2:
        raise UsageError(
            f"check takes one port, or an original and its port, but {len(models)} were given"
        )
    arguments = [args_a, args_b] if len(models) == 2 else [args_a or args_b]
    names = names_of_sides(models, model, (model_a, model_b))
    targets = [
        parse_target(text, framework=framework, arguments=own, model=name)
        for text, own, name in zip(models, arguments, names, strict=True)
    ]
    request = o.Request(context.params)
    spec = request.resolve().spec
    shape = _shape(image_shape)
    form = _form(format_, json=json)
    if native:
        from mnist_mlp.cli.native import check_native

        check_native(request, targets, shape=shape)
    for option, value in (("--seeds", seeds), ("--margin", margin)):
        if value is not None:
            raise UsageError(f"{option} belongs to --native")
    _require_free(out, sarif, overwrite=overwrite)

    def rows() -> Dataset:
        # Scripts train on data of their own.
        scripts = all(is_script(target.text) for target in targets)
        return request.load_dataset(spec.data.dataset, download=not scripts)

    if print_spec:
        _print_spec(
            original_spec(
                targets[0],
                spec=spec,
                dataset=rows(),
                image_shape=shape,
                timeout=timeout,
                in_place=in_place,
                say=tell,
            ),
            label=targets[0].text,
        )
        return
    checked = check_port(
        targets[-1],
        spec=spec,
        dataset=rows,
        original=targets[0] if len(targets) == 2 else None,
        image_shape=shape,
        threads=threads,
        cost=cost,
        verbose=verbose,
        timeout=timeout,
        in_place=in_place,
        say=tell,
    )
    costs = checked.cost.model_dump(mode="json") if checked.cost else None
    extra = {"spec": checked.spec.model_dump(mode="json"), "cost": costs}
    document = {**checked.outcome.document(), **extra}
    if out is not None:
        _write(out, checked, document)
    if sarif is not None:
        _write_sarif(sarif, checked)
    _print(checked, form, document, out)
    raise typer.Exit(checked.outcome.exit_code)


FILES = ("check.json", "report.html")
"""What `--out` writes."""


def names_of_sides(models: Sequence[str], both: str, each: tuple[str, str]) -> list[str]:
    """The name of the model that is meant, of each side; `both` is for whatever is a script."""
    from mnist_mlp.errors import UsageError
    from mnist_mlp.ports.user_code import is_script

    if both and not any(map(is_script, models)):
        raise UsageError(
            f"--model {both}: it chooses among the trainings of a script, and none was given"
        )
    own = each if len(models) == 2 else ("".join(each),)
    return [
        name or (both if is_script(text) else "") for text, name in zip(models, own, strict=True)
    ]


def _form(form: Format | None, *, json: bool) -> Format:
    from mnist_mlp.errors import UsageError

    if json and form not in (None, Format.JSON):
        raise UsageError(f"--json is --format json, and --format {form} was given as well")
    return Format.JSON if json else form or Format.TEXT


def _print_spec(read: ReadSpec, *, label: str) -> None:
    from mnist_mlp.errors import UsageError
    from mnist_mlp.spec import ACTIVATIONS

    if read.unknown:
        layers = ", ".join(map(str, read.unknown))
        raise UsageError(
            f"{label}: a specification cannot express the activation of layer "
            f"{layers}, so it cannot be printed.\n"
            f"Known activations: {', '.join(ACTIVATIONS)}, leaky_relu(x)."
        )
    for remark in read.remarks:
        typer.echo(f"# {remark}")
    typer.echo(read.spec.as_toml())


def _print(checked: Checked, form: Format, document: Mapping[str, Any], out: Path | None) -> None:
    from mnist_mlp.cli.output import print_json
    from mnist_mlp.parity.outcome import as_text
    from mnist_mlp.report.annotations import annotated

    if form is Format.JSON:
        print_json(document)
        return
    if form is Format.GITHUB:
        for line in annotated(checked.outcome):
            typer.echo(line)
        return
    typer.echo(as_text(checked.outcome))
    if checked.cost:
        typer.echo("")
        for sentence in checked.cost.sentences:
            typer.echo(sentence)
    if out is not None:
        typer.echo("")
        for name in FILES:
            typer.echo(out / name)


def _require_free(out: Path | None, sarif: Path | None, *, overwrite: bool) -> None:
    """Refuse to overwrite without `--overwrite`, and a page that is not of this program."""
    from mnist_mlp.errors import UsageError
    from mnist_mlp.report import refuse_foreign
    from mnist_mlp.report.sarif import NAME
    from mnist_mlp.run.files import require_place

    if sarif is not None:
        mark = f'"name": "{NAME}"'
        refuse_foreign(sarif, overwrite=overwrite, mark=mark, option="--sarif", what="SARIF file")
        require_place(sarif, option="--sarif")
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder")
    for name in FILES:
        if (out / name).exists() and not overwrite:
            raise UsageError(
                f"--out {out}: already holds {name}; add --overwrite or choose another folder"
            )
    refuse_foreign(out / "report.html", overwrite=overwrite)
    require_place(out / "report.html", option="--out")


def _write(out: Path, checked: Checked, document: Mapping[str, Any]) -> None:
    from mnist_mlp.report.check_page import check_html
    from mnist_mlp.run.files import json_bytes, write_atomically

    write_atomically(out / "check.json", json_bytes(document))
    spec = None if checked.by_original else checked.spec
    page = check_html(checked.outcome, cost=checked.cost, spec=spec)
    write_atomically(out / "report.html", page.encode(errors="replace"))


def _write_sarif(path: Path, checked: Checked) -> None:
    from mnist_mlp.report.sarif import sarif
    from mnist_mlp.run.files import json_bytes, write_atomically

    write_atomically(path, json_bytes(sarif(checked.outcome)))


def _shape(text: str | None) -> tuple[int, ...]:
    from mnist_mlp.errors import UsageError

    if text is None:
        return ()
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UsageError(f"--image-shape {text}: expected numbers such as 1,28,28")
    return shape
