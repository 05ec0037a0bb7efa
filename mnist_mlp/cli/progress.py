"""Progress on stderr: a live bar on a terminal, otherwise one line per epoch."""

from __future__ import annotations

import sys
import time
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
    from mnist_mlp.sweep.table import Row
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


@contextmanager
def shown_runs(
    total: int, *, before: int, style: ProgressStyle
) -> Iterator[tuple[Callable[[Row], None], Callable[[Row], None]]]:
    """Functions that show a run of a sweep: one that is done, and one that will be tried again.

    `before` of the `total` runs are there already.
    """
    if style is ProgressStyle.auto:
        style = ProgressStyle.rich if sys.stderr.isatty() else ProgressStyle.plain
    began, done = time.monotonic(), 0

    def again(row: Row) -> None:
        _line(f"{row.name} failed and will be tried again: {row.error}")

    def plain(row: Row) -> None:
        nonlocal done
        done += 1
        left = (time.monotonic() - began) / done * (total - before - done)
        _line(f"{before + done}/{total} {_of_run(row)}; about {duration(left)} left")

    if style is ProgressStyle.none:
        yield (lambda _: None), again
    elif style is ProgressStyle.plain:
        yield plain, again
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), Remaining())
        bar = Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True))
        with bar:
            task = bar.add_task("starting", total=total, completed=before)
            yield (
                lambda row: bar.update(task, advance=1, description=_of_run(row)),
                lambda row: bar.console.print(f"{row.name} failed: {row.error}", markup=False),
            )


def _of_run(row: Row) -> str:
    if row.accuracy is None:
        return f"{row.name}: {row.state}"
    return f"{row.name}: accuracy {row.accuracy:.4f}"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42), duration(150), duration(9000)
    ('42 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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
