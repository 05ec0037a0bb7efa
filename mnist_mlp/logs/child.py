"""The child's side of `mnist_mlp.logs.parent`: `python -m mnist_mlp.logs.child KIND FOLDER`.

Reads JSON lines: first `label`, `device` and `spec`, then an `epoch` with its `scalars` each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Lines = Iterator[dict[str, Any]]


def flat(nested: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted name; lists as text."""
    leaves: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves |= flat(value, prefix=f"{name}.")
        else:
            leaves[name] = str(value) if isinstance(value, list) else value
    return leaves


def tensorboard(folder: Path, about: dict[str, Any], lines: Lines) -> None:
    """Scalars by epoch, and the specification as text."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), write_to_disk=True) as writer:
        table = "\n".join(f"| {key} | {value} |" for key, value in flat(about["spec"]).items())
        writer.add_text("specification", f"| key | value |\n|---|---|\n{table}", 0)
        for line in lines:
            for tag, value in line["scalars"].items():
                writer.add_scalar(tag, value, line["epoch"])
            writer.flush()


def mlflow(folder: Path, about: dict[str, Any], lines: Lines) -> None:
    """A run of the experiment `mnist_mlp`, its parameters those of the specification."""
    import mlflow

    mlflow.set_experiment("mnist_mlp")
    with mlflow.start_run(run_name=f"{about['spec']['name']}-{about['label']}"):
        mlflow.set_tags({"backend": about["label"], "device": about["device"]})
        mlflow.set_tag("run_folder", str(folder))
        mlflow.log_params(flat(about["spec"]))
        for line in lines:
            mlflow.log_metrics(line["scalars"], step=line["epoch"])


def main() -> None:
    """Write until the parent closes the pipe."""
    kind, folder = sys.argv[1:]
    lines = (json.loads(line) for line in sys.stdin)
    about = next(lines)
    {"tensorboard": tensorboard, "mlflow": mlflow}[kind](Path(folder), about, lines)


if __name__ == "__main__":
    main()
