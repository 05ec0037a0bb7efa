"""`mnist_mlp check ORIGINAL PORT --native`: many runs of both, each as its own code does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from mnist_mlp.parity.check.target import Target
    from mnist_mlp.sweep.equivalence import Comparison

FILE = "native.json"
MARGIN = 0.01
SEEDS = "0:20"


def check_native(request: o.Request, targets: list[Target], *, shape: tuple[int, ...]) -> None:
    """Train both with every seed, judge whether they reach one accuracy, and exit."""
    from contextlib import nullcontext

    from mnist_mlp.run.claim import claimed_for_several

    out: Path | None = request.options["out"]
    # Two commands that write one file would each lose what the other found.
    with nullcontext() if out is None else claimed_for_several(out):
        _check_native(request, targets, shape=shape)


def _check_native(request: o.Request, targets: list[Target], *, shape: tuple[int, ...]) -> None:
    from mnist_mlp.cli.output import print_json, tell
    from mnist_mlp.cli.progress import duration
    from mnist_mlp.errors import UsageError
    from mnist_mlp.parity.check.native import judge, key_of, native_pairs
    from mnist_mlp.run.files import json_bytes, write_atomically
    from mnist_mlp.sweep import equivalence
    from mnist_mlp.sweep.cases import parse_seeds
    from mnist_mlp.sweep.figure import figure_files

    options = request.options
    if len(targets) != 2:
        raise UsageError("--native compares an original and its port: name both")
    for option in ("cost", "print_spec", "sarif"):
        if options[option]:
            raise UsageError(f"--native and --{option.replace('_', '-')}: give one of them")
    margin = MARGIN if options["margin"] is None else options["margin"]
    if not 0 < margin < 1:
        raise UsageError(f"--margin {margin}: expected an accuracy between 0 and 1, such as 0.01")
    seeds = parse_seeds(options["seeds"] or SEEDS)
    spec = request.resolve().spec
    rows = request.load_dataset(spec.data.dataset)
    sides = (targets[0], targets[1])
    out: Path | None = options["out"]
    key = key_of(sides, spec, rows)
    known = {} if out is None else _known(out / FILE, key, overwrite=options["overwrite"])

    def document(found: dict[int, Any], comparison: Comparison | None) -> dict[str, Any]:
        runs = [{"seed": seed, "accuracies": list(pair)} for seed, pair in sorted(found.items())]
        judged = equivalence.document([comparison] if comparison else [])
        return {"schema_version": 1, "key": key, "comparisons": judged, "runs": runs}

    def on_pair(seed: int, pair: tuple[float, float], seconds: float) -> None:
        known[seed] = pair
        tell(f"seed {seed}: {pair[0]:.4f} and {pair[1]:.4f}; about {duration(seconds)} left")
        if out is not None:  # after each pair, so that nothing is lost
            write_atomically(out / FILE, json_bytes(document(known, None)))

    pairs = native_pairs(
        sides,
        spec=spec,
        dataset=rows,
        seeds=seeds,
        known=dict(known),
        on_pair=on_pair,
        image_shape=shape,
        threads=options["threads"],
        verbose=options["verbose"],
        timeout=options["timeout"],
        in_place=options["in_place"],
        say=tell,
    )
    comparison = judge(sides, pairs, margin=margin)
    result = document({**known, **pairs}, comparison)
    files: dict[str, bytes] = {}
    if out is not None:
        accuracies = {
            (side.text, ""): [pair[n] for pair in pairs.values()] for n, side in enumerate(sides)
        }
        files = {FILE: json_bytes(result), **figure_files([comparison], accuracies)}
    for name, content in files.items():
        write_atomically((out or Path()) / name, content)
    if options["json"]:
        print_json(result)
    else:
        typer.echo(equivalence.as_text([comparison]))
        typer.echo("\n".join(["", *(str((out or Path()) / name) for name in files)]).rstrip())
    raise typer.Exit(equivalence.exit_code_of([comparison]))


def _known(file: Path, key: str, *, overwrite: bool) -> dict[int, tuple[float, float]]:
    """The accuracies of an earlier call, if it was of the same files, settings and rows."""
    from mnist_mlp.errors import DataError, UsageError
    from mnist_mlp.readers.regular import Origin
    from mnist_mlp.readers.texts import read_json

    if not file.exists() or overwrite:
        return {}
    document = read_json(file, Origin(DataError, absent="no such file"))
    if not isinstance(document, dict) or document.get("key") != key:
        raise UsageError(
            f"{file}: is of other files, settings or data; add --overwrite or choose another --out"
        )
    try:
        return {
            int(run["seed"]): (float(run["accuracies"][0]), float(run["accuracies"][1]))
            for run in document["runs"]
        }
    except (IndexError, KeyError, TypeError, ValueError):
        raise DataError(f"{file}: runs is damaged; remove the file") from None
