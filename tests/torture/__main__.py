"""The torture run, `make torture`: everything that may go wrong, and what then happens.

    python tests/torture [KIND ...] [--only WORDS] [--continue] [--jobs N] [--seed N]

Each kind that is run replaces its line in `docs/torture.md`. Results are kept in `build/torture` as
they come: `--continue` runs only what has not survived yet. With `--only`, nothing is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from torture.case import Fault, Result
from torture.table import KINDS, Row, cases_of, page, row_of, run_kind
from torture.world import ROOT, World, made_world

PAGE = ROOT / "docs" / "torture.md"
KEPT = ROOT / "build" / "torture"


def main() -> None:
    """Run the kinds that were asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--only", help="part of a case's name")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="after a stop")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at a time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.kinds) - KINDS.keys()
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}; choose from {', '.join(KINDS)}")
    rows = []
    with made_world() as world:
        for kind in options.kinds or KINDS:
            rows.append(_run(kind, world, options))
            print(rows[-1].line, flush=True)
    sys.exit(any(row.survived < row.tried for row in rows))


def _run(kind: str, world: World, options: argparse.Namespace) -> Row:
    """Run the cases of a kind that are asked for, and keep what became of each."""
    done: dict[str, Result] = {}
    if options.go_on:
        earlier = {name: _result(kept) for name, kept in _kept(kind, options.seed).items()}
        done = {name: result for name, result in earlier.items() if not result.faults}
    names = [case.name for case in cases_of(kind, options.seed)]
    chosen = [
        number
        for number, name in enumerate(names)
        if name not in done and (options.only is None or options.only in name)
    ]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for result in run_kind(kind, chosen, world, seed=options.seed, jobs=options.jobs):
        done[result.name] = result
        if result.faults:
            print(f"{kind}: {result.name}\n{result.details}", flush=True)
        if options.only is None:
            _keep(kind, done, seed=options.seed, date=today)
    return row_of(kind, list(done.values()), date=today, seed=options.seed)


def _keep(kind: str, done: dict[str, Result], *, seed: int, date: str) -> None:
    """Write the results of a kind, and the page anew."""
    KEPT.mkdir(parents=True, exist_ok=True)
    results = {name: asdict(result) for name, result in done.items()}
    document = {"seed": seed, "date": date, "results": results}
    (KEPT / f"{kind}.json").write_text(json.dumps(document), encoding="utf-8")
    rows = []
    for each in KINDS:
        if (KEPT / f"{each}.json").exists():
            known = json.loads((KEPT / f"{each}.json").read_text(encoding="utf-8"))
            found = [_result(kept) for kept in known["results"].values()]
            rows.append(row_of(each, found, date=known["date"], seed=known["seed"]))
    PAGE.write_text(page(rows), encoding="utf-8")


def _kept(kind: str, seed: int) -> dict[str, Any]:
    """The results of an earlier run with the same seed."""
    path = KEPT / f"{kind}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"seed": None}
    return known["results"] if known["seed"] == seed else {}


def _result(kept: dict[str, Any]) -> Result:
    return Result(**{**kept, "faults": [Fault(**fault) for fault in kept["faults"]]})


if __name__ == "__main__":
    main()
