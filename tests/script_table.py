"""The table of scripts: pairs of training scripts as tutorials write them, through `check`.

    python tests/script_table.py [PATTERN]     # for instance cnn/; `make faults` runs it whole

What must be said of each pair stands in `tests/scripts/expected.toml`. A fault is a change of a
line or two, made in a copy. The copies run in a folder where the libraries find their data (MNIST's
files with rows of the embedded digits), so that nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from case_world import made

from mnist_mlp.data import load_dataset
from mnist_mlp.worker.warm import warm_workers

SCRIPTS = Path(__file__).parent / "scripts"
ROWS, TRAIN = 2000, 1600


@dataclass(frozen=True)
class ScriptEntry:
    """One pair, and what is expected of it."""

    name: str
    expected: Mapping[str, Any]

    @property
    def causes(self) -> list[str]:
        """What is named, in any order; empty for a faithful pair."""
        return list(self.expected.get("causes", ()))

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self.expected.get("code", 1 if self.causes else 0))


@dataclass(frozen=True)
class ScriptResult:
    """What was said of it."""

    entry: ScriptEntry
    code: int
    said: Mapping[str, Any]
    text: str
    left_behind: tuple[str, ...]
    seconds: float

    @property
    def faults(self) -> list[str]:
        """How the answer is not as expected; empty if it is."""
        entry, found = self.entry, []
        if self.code != entry.code:
            found.append(f"exit code {self.code} instead of {entry.code}")
        breaks = self.said.get("breaks", [])
        named = {item["cause"]["name"] for item in breaks}
        if named != set(entry.causes):
            found.append(f"named {sorted(named)} instead of {entry.causes}")
        rung = entry.expected.get("rung")
        if rung and breaks and breaks[0]["rung"] != rung:
            found.append(f"rung {breaks[0]['rung']} instead of {rung}")
        missing = [w for w in entry.expected.get("words", ()) if w not in self.text]
        if missing:
            found.append(f"does not say {missing}")
        if self.left_behind:
            found.append(f"left behind {self.left_behind}")
        return found


def script_entries() -> list[ScriptEntry]:
    """All of them."""
    text = (SCRIPTS / "expected.toml").read_text(encoding="utf-8")
    return [ScriptEntry(name, expected) for name, expected in tomllib.loads(text).items()]


@dataclass(frozen=True)
class Place:
    """A folder with the libraries' data, and the environment of a command there."""

    folder: Path
    environment: Mapping[str, str]


@contextmanager
def place_for_scripts() -> Iterator[Place]:
    """Make it, and take it away again."""
    digits = load_dataset("digits")
    few = replace(digits, images=digits.images[:ROWS], labels=digits.labels[:ROWS])
    with TemporaryDirectory(prefix="scripts-") as folder:
        home = Path(folder)
        world = made(home, few, train=TRAIN)
        (home / "data").symlink_to(home / "torchvision")
        yield Place(home, world.environment)


def changed(text: str, changes: Sequence[Sequence[str]]) -> str:
    """A script with some of its lines changed; each of them has to be there."""
    for old, new in changes:
        assert text.count(old) >= 1, f"{old!r} is not in the script"
        text = text.replace(old, new)
    return text


def judge_scripts(entry: ScriptEntry, place: Place) -> ScriptResult:
    """Put one pair through the command, in a folder of its own."""
    own = place.folder / entry.name.replace("/", "-")
    own.mkdir()
    (own / "data").symlink_to(place.folder / "data")
    for key in ("original", "port"):
        file = str(entry.expected[key]).partition(":")[0]
        changes = entry.expected.get(f"change_{key}", ())
        text = (SCRIPTS / file).read_text(encoding="utf-8")
        (own / file).write_text(changed(text, changes), encoding="utf-8")
    before = {path.name for path in own.iterdir()} | {"__pycache__"}
    start = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mnist_mlp", "check", "--json", "--dataset", "digits"),
            *("--set", f"data.rows={ROWS}", entry.expected["original"], entry.expected["port"]),
            *entry.expected.get("options", ()),
        ],
        cwd=own,
        env={**os.environ, **place.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    said = json.loads(done.stdout) if done.stdout.strip() else {}
    after = {path.name for path in own.iterdir()} - before
    return ScriptResult(
        entry, done.returncode, said, done.stdout + done.stderr, tuple(sorted(after)), seconds
    )


def main() -> None:
    """Run the pairs that were asked for."""
    parser = argparse.ArgumentParser(description="Put the table of scripts through check.")
    parser.add_argument("pattern", nargs="?", default="", help="part of a pair's name")
    parser.add_argument("--all-words", action="store_true", help="show the whole of each answer")
    options = parser.parse_args()
    judged = []
    with place_for_scripts() as place:
        for entry in script_entries():
            if options.pattern not in entry.name:
                continue
            result = judge_scripts(entry, place)
            judged.append(result)
            told = "; ".join(result.faults) or "as expected"
            print(f"{result.seconds:5.1f} s  {entry.name}: {entry.expected['what']}: {told}")
            if result.faults:
                print(result.said.get("text", ""), result.said.get("breaks", ""))
                print("\n".join(line for line in result.text.splitlines()[-3:]))
            if options.all_words:
                print(result.text)
            sys.stdout.flush()
    right = sum(not item.faults for item in judged)
    print(f"{right} of {len(judged)} as expected")
    sys.exit(right < len(judged))


if __name__ == "__main__":
    with warm_workers():
        main()
