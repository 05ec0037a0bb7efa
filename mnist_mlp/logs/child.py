"""The process that writes a log: `python -m mnist_mlp.logs.child KIND FOLDER`.

`mnist_mlp.logs.parent` starts it and sends JSON lines to its stdin: first `label`, `device` and
`spec`, then one line per epoch with `epoch` and `scalars`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Lines = Iterator[dict[str, Any]]


def flat(nested: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted names; lists become text."""
    leaves: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves |= flat(value, prefix=f"{name}.")
        else:
            leaves[name] = str(value) if isinstance(value, list) else value
    return leaves


def tensorboard(folder: Path, about: dict[str, Any], lines: Lines) -> None:
    """Write the scalars of each epoch, and the specification as text."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), write_to_disk=True) as writer:
        table = "\n".join(f"| {key} | {value} |" for key, value in flat(about["spec"]).items())
        writer.add_text("specification", f"| key | value |\n|---|---|\n{table}", 0)
        for line in lines:
            for tag, value in line["scalars"].items():
                writer.add_scalar(tag, value, line["epoch"])
            writer.flush()  # so that the viewer shows the epoch while training goes on


def mlflow(folder: Path, about: dict[str, Any], lines: Lines) -> None:
    """Write a run of the experiment `mnist_mlp`, with the specification as its parameters."""
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
