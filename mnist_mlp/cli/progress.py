"""Progress on stderr: a live bar on a terminal, otherwise one line per epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_mlp.cli.options import ProgressStyle
from mnist_mlp.training import Observer

if TYPE_CHECKING:
    from rich.progress import Progress

    from mnist_mlp.plan import Plan
    from mnist_mlp.run.history import HistoryRow
    from mnist_mlp.spec import Spec
    from mnist_mlp.worker.parent import Opened, Worker


@contextmanager
def shown(labels: Sequence[str], spec: Spec, *, style: ProgressStyle) -> Iterator[list[Observer]]:
    """Observers that show the run of each label during the block.

    They may be used from several threads. Fallbacks and notes are always shown.
    """
    if style is ProgressStyle.auto:
        style = ProgressStyle.rich if sys.stderr.isatty() else ProgressStyle.plain
    if style is ProgressStyle.none:
        yield [Observer(fallback=_printed(label), note=_printed(label)) for label in labels]
    elif style is ProgressStyle.plain:
        yield [_plain(label, spec) for label in labels]
    else:
        with _bars() as bars:
            yield [_live(bars, label, spec) for label in labels]


def _plain(label: str, spec: Spec) -> Observer:
    def starting(_: Worker) -> None:
        _line(f"{label}: starting")

    def opened(answer: Opened, plan: Plan, _: Path) -> None:
        del plan
        versions = ", ".join(f"{k} {v}" for k, v in answer.environment.versions.items())
        _line(f"{label}: {versions}; ready after {answer.seconds:.1f} s")

    def epoch(row: HistoryRow) -> None:
        _line(f"{label}: epoch {row.epoch}/{spec.training.epochs} {_figures(row)}")

    return Observer(
        starting=starting,
        opened=opened,
        epoch=epoch,
        fallback=_printed(label),
        note=_printed(label),
    )


def _printed(label: str) -> Callable[[str], None]:
    return lambda text: _line(f"{label}: {text}")


def _line(text: str) -> None:
    """Write a line at once: `print` writes its end separately, and other threads get in between."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _figures(row: HistoryRow) -> str:
    return (
        f"{row.seconds:.2f} s  loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  "
        f"val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}"
    )


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _live(bars: Progress, label: str, spec: Spec) -> Observer:
    task = bars.add_task(
        label, total=None, epoch=0, epochs=spec.training.epochs, figures="starting"
    )
    rows_per_epoch = 0

    def opened(answer: Opened, plan: Plan, _: Path) -> None:
        nonlocal rows_per_epoch
        del answer
        rows_per_epoch = len(plan.train_ids)
        total = plan.steps_per_epoch * spec.training.epochs
        bars.update(task, total=total, figures="training")

    def epoch(row: HistoryRow) -> None:
        rate = rows_per_epoch / max(row.seconds, 1e-9)  # a coarse clock may measure 0 s
        figures = (
            f"loss {row.loss:.4f} acc {row.accuracy:.4f} | val {row.val_loss:.4f} "
            f"{row.val_accuracy:.4f} | {rate:,.0f} images/s"
        )
        bars.update(task, epoch=row.epoch, figures=figures)

    def told(text: str) -> None:
        bars.console.print(f"{label}: {text}", markup=False)

    return Observer(
        opened=opened,
        step=lambda n: bars.update(task, completed=n),
        epoch=epoch,
        fallback=told,
        note=told,
    )
