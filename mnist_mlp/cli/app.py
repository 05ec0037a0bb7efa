"""The Typer application, with every command registered."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from mnist_mlp.cli.backends import backends
from mnist_mlp.cli.bench import bench, bench_compare, bench_show
from mnist_mlp.cli.check import check
from mnist_mlp.cli.compare import compare
from mnist_mlp.cli.data import data
from mnist_mlp.cli.doctor import doctor
from mnist_mlp.cli.evaluate import evaluate
from mnist_mlp.cli.explain import explain
from mnist_mlp.cli.export import export
from mnist_mlp.cli.import_ import import_
from mnist_mlp.cli.predict import predict
from mnist_mlp.cli.report import report
from mnist_mlp.cli.sweep import sweep
from mnist_mlp.cli.train import train
from mnist_mlp.errors import InterruptedRun

app = typer.Typer(
    name="mnist_mlp",
    help=(
        "Train one specification of a multilayer perceptron in Keras and in PyTorch Lightning, "
        "and see whether the two runs match.\n\n"
        "Without a command, `train` is run: python -m mnist_mlp --backend keras"
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _keeping_exit_codes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Keep Typer from exiting with 1 on Ctrl-C or on a broken pipe: 1 means "the runs differ"."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            raise InterruptedRun("interrupted") from None
        except BrokenPipeError as error:
            # Not that of standard output (`mnist_mlp.streams`), but one that nobody expected.
            raise RuntimeError("a pipe to another process broke") from error

    return wrapped


_COMMANDS = (
    train,
    compare,
    sweep,
    check,
    evaluate,
    report,
    explain,
    export,
    import_,
    predict,
    data,
    backends,
    doctor,
)
for _command in _COMMANDS:
    app.command(name=_command.__name__.strip("_"), help=_command.__doc__)(
        _keeping_exit_codes(_command)
    )

_bench = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")
_bench.callback(help=bench.__doc__)(_keeping_exit_codes(bench))
_bench.command("compare", help=bench_compare.__doc__)(_keeping_exit_codes(bench_compare))
_bench.command("show", help=bench_show.__doc__)(_keeping_exit_codes(bench_show))
app.add_typer(_bench, name="bench")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback
    if wanted:
        from importlib.metadata import version

        from mnist_mlp.registry import installed

        typer.echo(f"mnist-mlp {version('mnist-mlp')} (backends: {', '.join(installed())})")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Version, backends."),
    ] = False,
) -> None:
    del version
