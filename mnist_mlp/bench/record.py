"""The result file of a sitting: cases, raw samples and the environment, as JSON.

All times are in seconds. A *sample* is one process. The parent measures an epoch by its own clock,
as the time between the arrivals of two epoch records. A record holds the weights, so the device has
finished by then, and no backend has to be trusted about its own speed. `own_epochs_s` holds the
times that the backend itself reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from mnist_mlp.contract import FitPath
from mnist_mlp.errors import DataError
from mnist_mlp.readers.regular import NAMED
from mnist_mlp.readers.texts import read_json
from mnist_mlp.registry import label_of
from mnist_mlp.run.files import json_bytes, write_atomically
from mnist_mlp.shown import one_line, shown
from mnist_mlp.spec import Count, Spec

SCHEMA_VERSION = 1
FILE_NAME = "bench.json"

MOST_ROUNDS = 1000
"""Most rounds of a sitting. The bootstrap draws ten thousand samples of as many processes."""

MOST_CASES = 1000
"""Most cases of a sitting. The figure has a line for each, and a picture at most 65,536 pixels."""

Kind = Literal["worker", "command", "peer", "limit", "answer"]

SittingKind = Literal["cases", "scale", "profile", "answers", "threads"]

WHOLE: tuple[Kind, ...] = ("command", "peer", "answer")
"""Kinds of case whose process has a fixed length, so that its seconds can be compared."""

Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=0, le=2**53)]
Phases = dict[str, Seconds]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Case(_Value):
    """One thing to time.

    Parameters
    ----------
    key : str
        Its name in the file and in `compare`: `keras/cpu/fast`, `peer/torch_loop`, ...
    kind : str
        `worker`: a backend, phase by phase. `command`: `mnist_mlp train`, from shell to report.
        `peer`: a script of `examples/`. `limit`: the matrix products of an epoch alone. `answer`:
        any command, from the shell to its answer.
    epochs : int
        Steady epochs of one process, without the warm-up epoch. For a `command`, all epochs.
    validated : bool
        False reduces the test set to one row, so that an epoch is training and nothing else.
    train_rows : int, optional
        Use only the first so many training rows.
    threads : int, optional
        Number of threads. A script without it uses as many as its libraries choose.
    point : int, optional
        Position on the axis of a scale series.
    """

    key: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Kind
    spec: Spec
    epochs: Annotated[int, Field(ge=0)]
    backend: str = ""
    accelerator: str = "cpu"
    # In the file it is called `path`, so that files of earlier versions can still be read.
    fit_path: Annotated[
        FitPath | Literal[""],
        Field(validation_alias=AliasChoices("fit_path", "path"), serialization_alias="path"),
    ] = ""
    threads: int | None = None
    validated: bool = True
    train_rows: int | None = None
    point: Count | None = None
    arguments: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Backend, accelerator and path of fitting, which all variants of a case share."""
        return f"{label_of(self.backend)}/{self.accelerator}/{self.fit_path}"


class Sample(_Value):
    """The measurements of one process of a case.

    `phases` holds those of these seconds that the case has: `spawn_s`, `import_s`, `build_s`,
    `first_epoch_s`, `trained_s` (from the start to the end of training), `predict_s`, `process_s`,
    `first_words_s` (until something is on the screen).
    `memory` holds bytes: `import_peak`, `peak` (of the process that computes), `gpu_peak` (of the
    whole device, minus what was in use before). `others_cores` is the average number of cores that
    other programs kept busy meanwhile.
    """

    case: str
    round: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    place: int
    status: Literal["ok", "absent", "failed"] = "ok"
    message: str = ""
    phases: Phases = {}
    epochs_s: tuple[Seconds, ...] = ()
    own_epochs_s: tuple[Seconds, ...] = ()
    series_s: dict[str, tuple[Seconds, ...]] = {}
    memory: dict[str, Bytes] = {}
    facts: dict[str, Any] = {}
    load_before: float | None = None
    others_cores: float | None = None

    @field_validator("facts")
    @classmethod
    def _rows_are_counted(cls, facts: dict[str, Any]) -> dict[str, Any]:
        rows = facts.get("train_rows", 1)
        if not isinstance(rows, int) or rows < 1:
            raise ValueError(f"train_rows is {shown(rows)}, expected a number of rows")
        return facts


class Document(_Value):
    """A whole sitting."""

    schema_version: Literal[1] = 1
    kind: SittingKind
    axis: Annotated[str, Field(pattern="^(width|batch|rows|epochs)?$")] = ""
    started: str
    finished: str = ""
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    seed: int
    train_rows: Count
    test_rows: Count
    dataset: dict[str, Any]
    environment: dict[str, Any]
    cases: Annotated[tuple[Case, ...], Field(min_length=1, max_length=MOST_CASES)]
    samples: tuple[Sample, ...] = ()

    def case(self, key: str) -> Case | None:
        """The case with this key; None if there is none."""
        return next((case for case in self.cases if case.key == key), None)

    def of(self, key: str) -> list[Sample]:
        """The successful samples of a case, ordered by round."""
        found = [sample for sample in self.samples if sample.case == key and sample.status == "ok"]
        return sorted(found, key=lambda sample: sample.round)

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        return self.model_dump(mode="json", by_alias=True)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_atomically(path, json_bytes(self.as_json()))


def read(path: Path) -> Document:
    """Read a sitting, given its file or its folder.

    Raises
    ------
    DataError
        The file cannot be read, is not a result file of `bench`, or has another schema version.
    """
    if path.is_dir():
        path = path / FILE_NAME
    raw = read_json(path, NAMED)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: expected a result file of `bench` with schema_version {SCHEMA_VERSION}, "
            f"found {shown(version)}"
        )
    for text in _texts(raw):
        if not text.replace("\n", "").isprintable():  # texts are printed
            raise DataError(f"{path}: a text holds control characters: {shown(text)}")
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = one_line(".".join(str(part) for part in problem["loc"]))
        raise DataError(
            f"{path}: not a result file of `bench`: {where}: {one_line(problem['msg'])}"
        ) from None
    keys = [case.key for case in document.cases]
    if len(set(keys)) < len(keys):
        raise DataError(f"{path}: lists a case twice")
    unknown = {sample.case for sample in document.samples} - set(keys)
    if unknown:
        raise DataError(
            f"{path}: has samples of cases that it does not list: {shown(sorted(unknown))}"
        )
    return document


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
