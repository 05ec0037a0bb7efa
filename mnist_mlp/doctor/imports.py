"""Try to import packages: `python -P -m mnist_mlp.doctor.imports NAME...`

Prints a line of JSON for each, `[name, error]`, as soon as it is known: an import can crash the
whole process. The error is empty if the import works.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main(names: list[str]) -> None:
    """Import each package and print the outcome."""
    # What a package prints must not get between the lines.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for name in names:
        error = ""
        try:
            importlib.import_module(name)
        except BaseException as problem:  # a broken package may raise anything, SystemExit included
            lines = str(problem).strip().splitlines()
            error = f"{type(problem).__name__}: {lines[0][:200] if lines else 'no message'}"
        print(json.dumps([name, error]), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
