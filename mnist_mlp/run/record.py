"""The content of `run.json` as a value: what was run, where, and how it ended.

The same model is used to read and to write the file. A key that may be missing, according to
`docs/run-folder.md`, has a default here that means *not recorded*. Unknown keys are kept.
`parse_record` is the only way from JSON to a `RunRecord`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mnist_mlp.contract import FitPath
from mnist_mlp.errors import RunFolderError
from mnist_mlp.shown import one_line, shown

SCHEMA_VERSION = 1

Status = Literal["running", "complete", "interrupted", "failed"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]


def printable(text: str) -> str:
    """Return the text; `ValueError` if it has control characters.

    Names in a stranger's run folder are printed. An escape code in a name could clear the screen,
    or show another verdict there.
    """
    if not text.isprintable():
        raise ValueError("input should be a text without control characters")
    return text


Name = Annotated[str, Field(max_length=4096), AfterValidator(printable)]
"""A text that is printed. 4,096 characters is the longest path on Linux, and `source` is one."""

ShortName = Annotated[str, Field(max_length=200), AfterValidator(printable)]
"""A name in headings and tables. Matplotlib needs a minute to draw one of a megabyte."""

DeviceCount = Annotated[int, Field(ge=1, le=1024)]
"""Devices of one machine, or machines. A replay refuses more than there are here."""


class _Part(BaseModel):
    # Strict: `"3"` is not accepted as a number, nor `true` as a count. Other programs may add keys.
    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)


class BackendRecord(_Part):
    """The backend: a short name and `module:Class`. Without the latter, no run can be repeated."""

    name: ShortName
    target: Name = ""


class MachineRecord(_Part):
    """The machine, as described by `mnist_mlp.run.machine.describe_machine`."""

    python: Name = ""
    platform: Name = ""
    processor: Name = ""
    cores: Count | None = None
    packages: dict[Name, Name] = {}


class DatasetRecord(_Part):
    """The data set: name, digest, image size in pixels, and number of rows of each part."""

    name: ShortName
    source: Name = ""
    sha256: Name
    rows: Count | None = None
    image_shape: Annotated[tuple[Count, Count], Field(strict=False)]
    classes: Annotated[int, Field(ge=2, le=256)]  # labels are uint8
    train_rows: Count | None = None
    test_rows: Count | None = None
    train_ids_sha256: Name = ""
    test_ids_sha256: Name = ""


class Metrics(_Part):
    """Mean cross-entropy in nats, and accuracy (0 to 1), on the test rows."""

    loss: Finite
    accuracy: Finite


class BestRecord(_Part):
    """The best epoch by validation loss, and the file with its weights."""

    epoch: Count
    val_loss: Finite
    file: Name = ""


class ResumedRecord(_Part):
    """A part of a run: after which epoch it went on, when (UTC), and with what."""

    epoch: Count
    started: str = ""
    versions: dict[Name, Name] = {}
    processor: Name = ""


class RunRecord(_Part):
    """The content of `run.json`; `docs/run-folder.md` describes the keys."""

    schema_version: int = SCHEMA_VERSION
    status: Status | None = None
    started: Name = ""
    backend: BackendRecord
    versions: dict[Name, Name] = {}
    accelerator: Literal["cpu", "gpu", ""] = ""
    device: Name = ""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    fit_path: FitPath | Literal[""] = ""
    devices: DeviceCount = 1
    num_nodes: DeviceCount = 1
    strategy: Literal["auto", "ddp"] = "auto"
    flags: dict[str, Any] = {}
    trace: bool = False
    native: bool = False
    resumed: Annotated[tuple[ResumedRecord, ...], Field(strict=False)] = ()
    machine: MachineRecord = MachineRecord()
    spec: dict[str, Any]
    spec_sha256: Name = ""
    dataset: DatasetRecord
    finished: Name = ""
    metrics: Metrics | None = None
    stopped_early: bool = False
    best: BestRecord | None = None
    timings: dict[Name, Finite] = {}
    error: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON object, with only the keys that were given."""
        return self.model_dump(mode="json", exclude_unset=True)

    def changed(self, **values: Any) -> RunRecord:
        """A copy of the record with some values replaced; checked again."""
        return checked({**self.document(), **values})

    @property
    def changed_within(self) -> str:
        """Why the parts of a resumed run may differ in their roundings; empty if they can't."""
        for part in self.resumed:
            if part.versions != self.versions:
                return f"from epoch {part.epoch + 1} on it was trained with {part.versions}"
            if part.processor != self.machine.processor:
                return f"from epoch {part.epoch + 1} on it was trained on {part.processor}"
        return ""

    @property
    def not_recorded(self) -> tuple[str, ...]:
        """Missing keys that a replay needs to be sure that it repeats the same run."""
        known = {
            "backend.target": self.backend.target,
            # A backend may have no versions to report, so an empty dictionary is fine.
            "versions": "versions" in self.model_fields_set,
            "accelerator": self.accelerator,
            "threads": self.threads,
            "fit_path": self.fit_path,
            "machine.processor": self.machine.processor,
        }
        return tuple(key for key, value in known.items() if not value)


class RecordError(ValueError):
    """A key of a record is missing, or its value has the wrong type."""


def checked(document: Mapping[str, Any]) -> RunRecord:
    """Make a record from a JSON object; `RecordError` names the first wrong key."""
    try:
        return RunRecord.model_validate(dict(document))
    except ValidationError as error:
        raise RecordError(_explain(error, document)) from None


def parse_record(document: Mapping[str, Any], *, folder: object, complete: bool) -> RunRecord:
    """Make a record from the JSON object of a folder's `run.json`.

    Parameters
    ----------
    folder : path
        The run folder, named in error messages.
    complete : bool
        Refuse a run that is not marked `complete` or has no metrics.

    Raises
    ------
    RunFolderError
        The schema is another one, the run is unfinished, or a key is missing or wrong. The text
        names the file, the key, what was expected and what was found.
    """
    version = document.get("schema_version")
    # Not `isinstance`: it would accept `true`, which equals 1.
    if type(version) is not int or version != SCHEMA_VERSION:
        raise RunFolderError(
            f"{folder}/run.json: schema_version {shown(version)}, but this program reads "
            f"{SCHEMA_VERSION}"
        )
    status = document.get("status")
    if complete and status != "complete":
        raise RunFolderError(
            f"{folder}: the run is marked {shown(status)}, not 'complete': finish it with "
            f"`train --resume {folder}`; evaluate, predict, export and report take its last whole "
            f"epoch"
        )
    try:
        record = checked(document)
        if record.status == "complete" and record.metrics is None:
            raise RecordError("metrics is missing")
    except RecordError as error:
        raise RunFolderError(f"{folder}/run.json: {error}") from None
    return record


_KINDS = {
    "string_type": "a text",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
}


def _explain(error: ValidationError, document: Mapping[str, Any]) -> str:
    problem = error.errors(include_url=False)[0]
    place = [str(part) for part in problem["loc"]]
    kind, value = problem["type"], problem["input"]
    if place[:2] == ["dataset", "image_shape"] and "image_shape" in document["dataset"]:
        # The whole pair explains the problem better than one of its numbers.
        pair = document["dataset"]["image_shape"]
        return f"dataset.image_shape is {shown(pair)}, expected [height, width]"
    # pydantic adds the branch of a union to the place. That is not a key of the file.
    key = ".".join(place[:1] if place[0] in ("fit_path", "threads") else place)
    if kind == "missing":
        return f"{one_line(key)} is missing"
    expected = _KINDS.get(kind) or problem["msg"][:1].lower() + problem["msg"][1:]
    for words in ("value error, ", "input should be ", "string should have "):
        expected = expected.removeprefix(words)
    return f"{one_line(key)} is {shown(value)}, expected {expected}"
