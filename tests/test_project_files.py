"""The files that work on the project: hooks and workflow say what Makefile and pyproject say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def targets(makefile: str) -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([\w./-]+):(?!=)", makefile, flags=re.MULTILINE))


def recipe(makefile: str, target: str) -> list[str]:
    """The commands of a target."""
    rule = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    assert rule, f"no target {target}"
    return [line.strip() for line in rule[1].splitlines()]


def calls_of_make(workflow: Any) -> Iterator[str]:
    """Targets that the workflow's steps ask `make` for."""
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            yield from re.findall(r"\bmake ([\w./-]+)", step.get("run", ""))


def hooks(config: Any) -> dict[str, dict[str, Any]]:
    return {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_the_workflow_asks_for_targets_that_are_there() -> None:
    asked = set(calls_of_make(WORKFLOW))
    assert "test" in asked
    assert asked <= targets(MAKEFILE)


def test_the_workflow_runs_every_supported_python() -> None:
    versions = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: "
    supported = [
        name.removeprefix(prefix)
        for name in PYPROJECT["project"]["classifiers"]
        if name.startswith(f"{prefix}3.")
    ]
    assert versions == supported
    assert all(f"python{version}" in MAKEFILE for version in versions)


def test_hooks_do_what_make_test_does() -> None:
    """Every check of `make test` but the tests is a hook, and no hook demands more but spelling."""
    commands = recipe(MAKEFILE, "test")
    checks = {" ".join(line.split()[:2]) for line in commands if "/pytest" not in line}
    of_hooks = {
        "ruff-format": "$(BIN)/ruff format",
        "ruff-check": "$(BIN)/ruff check",
        "mypy": "$(BIN)/mypy",
    }
    assert checks == set(of_hooks.values())
    assert set(hooks(HOOKS)) == {*of_hooks, "codespell"}
    assert hooks(HOOKS)["mypy"]["entry"] == ".venv/bin/mypy"


def test_every_make_command_in_contributing_is_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)\b", page))
    assert named >= {"test", "faults", "report-check"}
    assert named <= targets(MAKEFILE)


def test_every_path_in_contributing_is_there() -> None:
    """Words in code marks that look like a path; NAME and <rung> stand for any name."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    paths = [
        word
        for word in re.findall(r"`([\w<>.*/-]+)`", prose)
        if "/" in word or word.endswith((".py", ".toml", ".md"))
    ]
    assert len(paths) > 30
    for path in paths:
        pattern = re.sub(r"<\w+>|NAME", "*", path).rstrip("/")
        assert any(ROOT.glob(pattern)), path


# --- The checker itself ---------------------------------------------------------------------------


def test_faults_are_seen() -> None:
    wrong = {"jobs": {"test": {"steps": [{"run": "make tests PYTHON=python"}, {"uses": "x"}]}}}
    assert list(calls_of_make(wrong)) == ["tests"]
    assert "tests" not in targets(MAKEFILE)
    assert targets("BIN := x\nrun: a\n.venv/b: | c\n\tdo it\n") == {"run", ".venv/b"}
    assert recipe("test: x\n\tone\n\ttwo\n\nother:\n\tthree\n", "test") == ["one", "two"]
