"""Options that several commands share, and how they are turned into library arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mnist_mlp.contract import Devices
    from mnist_mlp.data import Dataset
    from mnist_mlp.run.folder import Run
    from mnist_mlp.settings import Resolved
    from mnist_mlp.spec import Spec


class Accelerator(StrEnum):
    """Where to compute; `auto` uses a GPU if the backend finds one."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Precision(StrEnum):
    """The floating-point type of the whole run."""

    float32 = "float32"
    float64 = "float64"


class Strategy(StrEnum):
    """How devices train together; `auto` is `ddp` if there are several."""

    auto = "auto"
    ddp = "ddp"


class DatasetChoice(StrEnum):
    """Which data set; `auto` falls back to the embedded digits, `mnist` never does."""

    auto = "auto"
    mnist = "mnist"
    digits = "digits"


class ProgressStyle(StrEnum):
    """How progress is shown on stderr; `auto` is `rich` on a terminal, else `plain`."""

    auto = "auto"
    rich = "rich"
    plain = "plain"
    none = "none"


class LogChoice(StrEnum):
    """Programs that can show a log of the run."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"


_SPEC = "Specification"
_DATA = "Data"
_RUN = "Run"

Config = Annotated[
    Path | None, typer.Option(help="TOML file with a specification.", rich_help_panel=_SPEC)
]
Assignments = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set section.key to a TOML value.", rich_help_panel=_SPEC
    ),
]
Epochs = Annotated[int | None, typer.Option(help="training.epochs", rich_help_panel=_SPEC)]
BatchSize = Annotated[int | None, typer.Option(help="training.batch_size", rich_help_panel=_SPEC)]
LearningRate = Annotated[
    float | None, typer.Option(help="optimizer.learning_rate", rich_help_panel=_SPEC)
]
Seed = Annotated[int | None, typer.Option(help="seed", rich_help_panel=_SPEC)]
PrecisionOption = Annotated[
    Precision | None, typer.Option(help="training.precision", rich_help_panel=_SPEC)
]
DatasetOption = Annotated[
    DatasetChoice | None, typer.Option(help="data.dataset", rich_help_panel=_DATA)
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the four IDX files [env: MNIST_MLP_DATA].", rich_help_panel=_DATA
    ),
]
Source = Annotated[
    str | None,
    typer.Option(help="Download with torchvision, keras or openml.", rich_help_panel=_DATA),
]
Mirror = Annotated[
    str | None, typer.Option(help="Address to download MNIST from.", rich_help_panel=_DATA)
]
AcceleratorOption = Annotated[
    Accelerator,
    typer.Option(help="With gpu, a missing GPU is an error.", rich_help_panel=_RUN),
]
Threads = Annotated[
    int, typer.Option(min=1, max=1024, help="Number of CPU threads.", rich_help_panel=_RUN)
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast/--plain", help="Many steps per framework call, or one.", rich_help_panel=_RUN
    ),
]
DevicesOption = Annotated[
    int,
    typer.Option(
        "--devices",
        min=1,
        max=1024,
        help="GPUs, or processes on a CPU, that share each batch (torch).",
        rich_help_panel=_RUN,
    ),
]
NumNodes = Annotated[
    int,
    typer.Option(min=1, max=1024, help="Machines with so many devices.", rich_help_panel=_RUN),
]
StrategyOption = Annotated[
    Strategy,
    typer.Option(
        "--strategy",
        help="Lightning's ddp; auto: if there are several devices.",
        rich_help_panel=_RUN,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a run in --out.", rich_help_panel=_RUN)
]
ProgressOption = Annotated[
    ProgressStyle,
    typer.Option("--progress", help="Style of progress on stderr.", rich_help_panel=_RUN),
]
Log = Annotated[
    list[LogChoice],
    typer.Option(help="Also write a log for this viewer; repeatable.", rich_help_panel=_RUN),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show the specification and stop.", rich_help_panel=_RUN),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show what the frameworks print.", rich_help_panel=_RUN),
]

Best = Annotated[
    bool,
    typer.Option("--best", help="Take the epoch with the lowest validation loss, not the last."),
]
Timeout = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS",
        min=1,
        help="End if a worker reports nothing for so long [default: no limit].",
        rich_help_panel=_RUN,
    ),
]

DEFAULT_THREADS = 1
"""If other programs use the same cores, two threads wait for each other, and an epoch can take ten
times as long; on a quiet machine two gain only a factor of 1.2 to 1.4 (docs/benchmarks.md)."""


@dataclass(frozen=True)
class Request:
    """The values of all options, as in Typer's context.

    `by_hand` names those that the user gave on the command line.
    """

    options: dict[str, Any]
    by_hand: frozenset[str] = frozenset()

    @classmethod
    def of(cls, context: typer.Context) -> Request:
        """Read the options from the context of a command."""
        named = {
            name
            for name in context.params
            if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
        }
        return cls(context.params, frozenset(named))

    def resolve(self, base: Spec | None = None) -> Resolved:
        """Return the specification and the source of each value. `base` replaces the defaults."""
        from mnist_mlp.settings import SHORT_NAMES, resolve

        flags = {leaf: self._plain(option) for option, leaf in SHORT_NAMES.items()}
        return resolve(
            base=base,
            config=self.options["config"],
            assignments=self.options["assignments"],
            flags=flags,
        )

    def load_dataset(self, choice: str, *, download: bool = True) -> Dataset:
        """Load the data set; messages about it (a fallback, a download) go to stderr."""
        from mnist_mlp.data import load_dataset

        return load_dataset(
            choice,  # type: ignore[arg-type]  # checked by the specification
            data_dir=self.options["data_dir"],
            source=self.options["source"],
            mirror=self.options["mirror"],
            download=download or self.options["mirror"] is not None,
            say=lambda line: typer.echo(line, err=True),
        )

    def dataset_of(self, run: Run) -> Callable[[], Dataset]:
        """A function that loads the data set that a run was trained on, or its nearest likeness."""
        name = run.dataset.name
        return lambda: self.load_dataset(name if name == "digits" else "auto")

    def training(self) -> dict[str, Any]:
        """Keyword arguments of `training.train`."""
        return {
            **self.worker(),
            # The fast path is the default. Only a user who gave --fast relies on it.
            "insist": "fast" in self.by_hand,
            "overwrite": self.options.get("overwrite", False),  # `sweep` has no such option
        }

    def worker(self) -> dict[str, Any]:
        """Keyword arguments of `worker.parent.Worker`, but for the devices."""
        return {
            "accelerator": str(self.options["accelerator"]),
            "fit_path": "fast" if self.options["fast"] else "plain",
            **{key: self.options[key] for key in ("threads", "verbose", "timeout")},
        }

    def devices(self) -> Devices:
        """The devices that train together."""
        from mnist_mlp.contract import Devices

        options = self.options
        return Devices(
            count=options["devices"],
            nodes=options["num_nodes"],
            strategy="ddp" if options["strategy"] == Strategy.ddp else "auto",
        )

    def runtime_by_hand(self) -> dict[str, Any]:
        """What the user asked for on the command line, by its key in `run.json`."""
        from mnist_mlp.registry import target_of

        asked: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "backend": ("backend.target", target_of),
            "accelerator": ("accelerator", str),
            "threads": ("threads", int),
            "devices": ("devices", int),
            "num_nodes": ("num_nodes", int),
            "strategy": ("strategy", str),
            "trace": ("trace", bool),
            "fast": ("fit_path", lambda value: "fast" if value else "plain"),
        }
        return {
            key: convert(self.options[option])
            for option, (key, convert) in asked.items()
            if option in self.by_hand and str(self.options[option]) != "auto"
        }

    def _plain(self, option: str) -> Any:
        value = self.options[option]
        return str(value) if isinstance(value, StrEnum) else value
