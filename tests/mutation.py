"""Mutation testing of the pure modules, `make mutation`; writes `docs/mutation.md`.

    python tests/mutation.py [--jobs N] [--page-only]

mutmut changes one thing at a time in the modules that `[tool.mutmut]` of `pyproject.toml` names,
and runs the tests that reach it. A mutant that no test notices has survived: either a test is
missing, or the change makes no difference. `tests/mutation_reasons.toml` holds the reasons. mutmut
keeps its results in `mutants/`, so that a run which was stopped goes on.

Install nothing meanwhile. The process that all mutants are forked from then fits its environment no
more, so that every test fails, and that counts as killed.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "mutation.md"
REASONS = Path(__file__).with_name("mutation_reasons.toml")
WORDS = "It changes only the words of a message, or the case of its letters."
NOTICED = ("killed", "timeout", "segfault", "caught by type check")


@dataclass(frozen=True)
class Mutant:
    """A changed function. `before` and `after` are the changed lines; empty if it was noticed."""

    module: str
    function: str
    status: str
    before: str = ""
    after: str = ""

    @property
    def noticed(self) -> bool:
        """Whether a test failed, or did not end, because of it."""
        return self.status in NOTICED

    @property
    def only_words(self) -> bool:
        """Whether only a text was changed: other case, or marked by XX at both ends.

        Names are texts as well (a key, a file mode). So this holds only for texts with spaces.
        """
        unmarked = re.sub(r"(['\"])XX(.*? .*?)XX\1", r"\1\2\1", self.after)
        if unmarked != self.after:
            return unmarked == self.before
        texts = [re.sub(r"(['\"]).*? .*?\1", "", line) for line in (self.before, self.after)]
        return texts[0] == texts[1] and self.before.lower() == self.after.lower()


def main() -> None:
    """Run mutmut, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--page-only", action="store_true", help="of the results that there are")
    options = parser.parse_args()
    if not options.page_only:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.jobs)]
        subprocess.run(command, cwd=ROOT, check=True)
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    mutants = list(read())
    when = f"on {datetime.now(UTC):%Y-%m-%d} with mutmut {version('mutmut')}"
    PAGE.write_text(page(mutants, reasons, when=when), encoding="utf-8")
    print(f"wrote {PAGE}")


def read() -> Iterator[Mutant]:
    """mutmut's results in `mutants/`."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import (
        read_mutant_function,
        read_mutants_module,
        read_original_function,
    )
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        module = str(path.with_suffix("")).replace("/", ".").removeprefix("mnist_mlp.")
        code = read_mutants_module(path) if data.exit_code_by_key else None
        for name, exit_code in data.exit_code_by_key.items():
            short = name.rpartition(".")[2].removeprefix("x").split("__mutmut_")[0]
            function = short.removeprefix("_").strip("ǁ").replace("ǁ", ".")
            status = status_by_exit_code[exit_code]
            if status in NOTICED or status == "not checked":
                yield Mutant(module, function, status)
                continue
            assert code is not None
            old, new = read_original_function(code, name), read_mutant_function(code, name)
            before, after = _changed(code.code_for_node(old), code.code_for_node(new))
            yield Mutant(module, function, status, before, after)


def _changed(old: str, new: str) -> tuple[str, str]:
    """The lines that differ, each side on one line."""
    lines = list(difflib.ndiff(old.splitlines(), new.splitlines()))
    sides = ([line[2:].strip() for line in lines if line.startswith(sign)] for sign in ("- ", "+ "))
    before, after = (" ".join(side) for side in sides)
    return before, after


def page(mutants: Sequence[Mutant], reasons: Mapping[str, Mapping[str, str]], *, when: str) -> str:
    """The page: a table by module, and the survivors by reason."""
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    survivors: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        kind = "noticed" if mutant.noticed else mutant.status
        by_module[mutant.module][kind] += 1
        if kind in ("survived", "no tests"):
            survivors[reason_of(mutant, reasons)].append(mutant)
    total = sum(by_module.values(), Counter[str]())
    rows = [_row(f"`{name}`", counts) for name, counts in sorted(by_module.items())]
    unexplained = survivors.pop("", [])
    return "\n".join(
        (
            "# Mutation testing",
            "",
            f"Written by `make mutation` {when}. One thing at a time was changed in the pure "
            "modules: a number, an operator, an argument, a text. A change that makes a test fail, "
            "or run without end, is killed. The tests that were run stand in `[tool.mutmut]` of "
            "`pyproject.toml`: those that start no process and train nothing. So a survivor may be "
            "killed by a slower test.",
            "",
            "| module | mutants | killed | survived | share killed |",
            "|---|--:|--:|--:|--:|",
            *rows,
            _row("all", total),
            "",
            "## Survivors, and why",
            "",
            *_explained(survivors),
            *(_unexplained(unexplained) if unexplained else ()),
            "",
        )
    )


def _row(name: str, counts: Counter[str]) -> str:
    judged = counts["noticed"] + counts["survived"] + counts["no tests"]
    if not judged:
        return f"| {name} | {counts.total():,} | not run | | |"
    left_out = f" ({counts['not checked']:,} not run)" if counts["not checked"] else ""
    return (
        f"| {name} | {judged:,}{left_out} | {counts['noticed']:,} | "
        f"{judged - counts['noticed']:,} | {100 * counts['noticed'] / judged:.0f} % |"
    )


def reason_of(mutant: Mutant, reasons: Mapping[str, Mapping[str, str]]) -> str:
    """Why a survivor survives: the reason whose text is part of the changed lines; "" if none."""
    if mutant.only_words:
        return WORDS
    known = reasons.get(f"{mutant.module}.{mutant.function}", {})
    changed = f"{mutant.before} -> {mutant.after}"
    return next((why for part, why in known.items() if part in changed), "")


def _explained(survivors: Mapping[str, Sequence[Mutant]]) -> Iterator[str]:
    yield from ("| reason | mutants | where |", "|---|--:|---|")
    for why, found in sorted(survivors.items(), key=lambda item: -len(item[1])):
        places = sorted({f"`{mutant.module}.{mutant.function}`" for mutant in found})
        where = ", ".join(places) if len(places) <= 4 else f"{len(places)} functions"
        yield f"| {why} | {len(found)} | {where} |"


def _unexplained(mutants: Sequence[Mutant]) -> Iterator[str]:
    yield from ("", "## Survivors that nobody has looked at yet", "")
    functions: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        functions[f"{mutant.module}.{mutant.function}"].append(mutant)
    yield from ("| function | mutants | the first of them |", "|---|--:|---|")
    for name, found in sorted(functions.items()):
        change = f"{_code(found[0].before)} becomes {_code(found[0].after)}"
        yield f"| `{name}` | {len(found)} | {change} |"


def _code(line: str) -> str:
    """A line as code in a cell of a table, shortened."""
    short = line if len(line) <= 80 else f"{line[:77]}..."
    return f"`` {short.replace('|', chr(92) + '|')} ``"


if __name__ == "__main__":
    main()
