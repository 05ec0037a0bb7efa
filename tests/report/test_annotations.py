"""`check --format github` and `check --sarif`: an outcome at the lines of the port."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from mnist_mlp.parity.causes.catalogue import catalogue
from mnist_mlp.parity.findings import RUNGS, UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.parity.outcome import NamedSide, Outcome, Rung
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.report.annotations import annotated
from mnist_mlp.report.sarif import sarif
from mnist_mlp.spec import Spec

Cli = Callable[..., CompletedProcess[str]]


def a_break(name: str, lines: dict[Side, UserLine], **more: Any) -> Break:
    cause = Cause(name, "0.1 instead of 0.01", "What it is.", "lr=0.01")
    return Break(side="b", rung="update", place=Place(1, 3), cause=cause, lines=lines, **more)


def outcome(*breaks: Break, port: str = "port.py:Net", verdict: Any = "different") -> Outcome:
    return Outcome(
        verdict=verdict,
        text="Not judged: a, b.\nNot judged: 50%.",
        sides={
            "a": NamedSide(label="original.py", path="original.py"),
            "b": NamedSide(label=port, path=port),
        },
        breaks=breaks,
        rungs=tuple(
            Rung(name=name, status="broken" if name == "update" and breaks else "clean", margin=0.5)
            for name in RUNGS
        ),
        noted=(Cause("flatten_order", "fc1", "Channels come first."),),
    )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


RATE = a_break(
    "learning_rate",
    {"b": UserLine("nets/a,b.py", 34, "SGD(lr=100%)"), "a": UserLine("original.py", 7, "fit()")},
    got="50%,\n1:2",
)


# --- GitHub ---------------------------------------------------------------------------------------


def test_an_error_stands_at_the_line_of_the_port() -> None:
    error, notice = annotated(outcome(RATE))
    assert error == (
        "::error file=nets/a%2Cb.py,line=34,title=mnist_mlp%3A learning_rate::"
        "port.py:Net (b) breaks at rung update, epoch 1, step 3%0A"
        "  in the port: nets/a,b.py:34: SGD(lr=100%25)%0A"
        "  in the original: original.py:7: fit()%0A"
        "  got 50%25,%0A1:2, expected %0A"
        "  cause: learning_rate (0.1 instead of 0.01)%0A"
        "  What it is.%0A"
        "  cure:  lr=0.01"
    )
    assert notice == (
        "::notice file=port.py,title=mnist_mlp%3A flatten_order::fc1%0AChannels come first."
    )


def test_without_a_line_it_stands_at_the_file() -> None:
    error, _ = annotated(outcome(a_break(UNKNOWN, {"a": UserLine("original.py", 7, "fit()")})))
    assert error.startswith("::error file=port.py,title=mnist_mlp%3A unknown::")


def test_an_open_verdict_is_a_warning_and_a_clean_one_says_nothing() -> None:
    warning, _ = annotated(outcome(verdict="inconclusive", port="sub/port.py"))
    assert warning == (
        "::warning file=sub/port.py,title=mnist_mlp%3A inconclusive::"
        "Not judged: a, b.%0ANot judged: 50%25."
    )
    clean = outcome(verdict="identical").model_copy(update={"noted": ()})
    assert annotated(clean) == []


def test_paths_are_told_from_the_working_directory(here: Path, tmp_path_factory: Any) -> None:
    """A cell's line is not one of the notebook's file; a file elsewhere keeps its whole path."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "net.py"
    found = [
        UserLine(f"{here}/sub/train.py", 5, "x"),
        UserLine("book.ipynb, cell 3", 2, "x"),
        UserLine(str(elsewhere), 1, "x"),
    ]
    errors = annotated(outcome(*(a_break("learning_rate", {"b": line}) for line in found)))
    starts = [text.partition(",title")[0] for text in errors[:-1]]
    assert starts == [
        "::error file=sub/train.py,line=5",
        "::error file=book.ipynb",
        f"::error file={elsewhere},line=1",
    ]
    assert "in the port: book.ipynb, cell 3:2: x" in errors[1]


# --- SARIF ----------------------------------------------------------------------------------------

LEVELS = ("none", "note", "warning", "error")


def is_uri(uri: str) -> bool:
    """Whether it is one of RFC 3986: with a scheme, or a normalized path below a folder."""
    allowed = re.fullmatch(r"(?:[A-Za-z0-9._~/!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", uri) is not None
    parts = uri.split("/")
    relative = ":" not in parts[0] and not uri.startswith("/") and not {"", ".", ".."} & set(parts)
    return allowed and (uri.startswith("file:///") or relative)


def is_plain(text: Any) -> bool:
    """Whether a message has no placeholder and no link: braces are doubled (SARIF 3.11.5), and
    nothing is `[text](target)` (3.11.6)."""
    single = str(text).replace("{{", "").replace("}}", "")
    return bool(text) and not {"{", "}"} & set(single) and "](" not in str(text)


def faults_of(document: Any) -> list[str]:
    """What SARIF 2.1.0 requires of the parts that are used here, and a document lacks."""
    found: list[str] = []

    def need(holds: Any, what: str) -> None:
        if not holds:
            found.append(what)

    def located(location: Any, what: str) -> None:
        physical = location.get("physicalLocation", {})
        uri = physical.get("artifactLocation", {}).get("uri", "")
        need(is_uri(uri), f"{what}: uri")
        if "region" in physical:
            need(physical["region"].get("startLine", 0) >= 1, f"{what}: startLine")

    need(document.get("version") == "2.1.0", "version")
    need(isinstance(document.get("runs"), list), "runs")
    for run in document.get("runs", []):
        driver = run.get("tool", {}).get("driver", {})
        need(isinstance(driver.get("name"), str) and driver.get("name"), "tool.driver.name")
        rules = driver.get("rules", [])
        names = [rule.get("id") for rule in rules]
        need(all(names) and len(set(names)) == len(names), "rules: id")
        for rule in rules:
            for key in ("shortDescription", "fullDescription", "help"):
                need(
                    key not in rule or is_plain(rule[key].get("text")),
                    f"rule {rule.get('id')}: {key}",
                )
            need(rule.get("defaultConfiguration", {}).get("level", "warning") in LEVELS, "level")
        for call in run.get("invocations", []):
            need(isinstance(call.get("executionSuccessful"), bool), "executionSuccessful")
        need(isinstance(run.get("results"), list), "results")
        for result in run.get("results", []):
            need(is_plain(result.get("message", {}).get("text")), "message")
            need(result.get("level", "warning") in LEVELS, "result: level")
            need(result.get("kind", "fail") == "fail" or result["level"] == "none", "kind")
            marks = [x["id"] for x in result.get("relatedLocations", []) if "id" in x]
            need(len(set(marks)) == len(marks) and all(m >= 0 for m in marks), "location: id")
            index = result.get("ruleIndex")
            if index is not None:
                need(names[index] == result.get("ruleId"), "ruleIndex")
            for location in (*result.get("locations", []), *result.get("relatedLocations", [])):
                located(location, result.get("ruleId", ""))
    return found


def test_the_document_has_what_sarif_requires() -> None:
    document = json.loads(json.dumps(sarif(outcome(RATE, a_break(UNKNOWN, {}))), allow_nan=False))
    assert faults_of(document) == []
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == [*catalogue(), "inconclusive"]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    rate, unknown, noted = run["results"]
    assert (rate["ruleId"], rate["level"]) == ("learning_rate", "error")
    (where,) = rate["locations"]
    physical = where["physicalLocation"]
    assert unquote(physical["artifactLocation"]["uri"]) == "nets/a,b.py"
    assert physical["region"] == {"startLine": 34, "snippet": {"text": "SGD(lr=100%)"}}
    (related,) = rate["relatedLocations"]
    assert related["physicalLocation"]["region"]["startLine"] == 7
    assert "cure:  lr=0.01" in rate["message"]["text"]
    assert unknown["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "port.py"}}
    assert "relatedLocations" not in unknown
    assert (noted["ruleId"], noted["level"]) == ("flatten_order", "note")
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_code_in_a_message_is_no_placeholder_and_no_link() -> None:
    line = UserLine("port.py", 3, "x = layers[0](x, {'a': 1})", "layer")
    document = sarif(outcome(a_break("learning_rate", {"b": line})))
    assert faults_of(document) == []
    (first, _) = document["runs"][0]["results"]
    assert "x = layers[0] (x, {{'a': 1}})" in first["message"]["text"]
    snippet = first["locations"][0]["physicalLocation"]["region"]["snippet"]
    assert snippet == {"text": "x = layers[0](x, {'a': 1})"}  # no message, but what stands there


def test_an_open_verdict_is_a_result_too(tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("else where") / "port.py"
    document = sarif(outcome(verdict="inconclusive", port=str(elsewhere)))
    assert faults_of(document) == []
    first = document["runs"][0]["results"][0]
    assert (first["ruleId"], first["level"]) == ("inconclusive", "warning")
    uri = first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == elsewhere.as_uri()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "2.0"),
        (("runs", 0, "tool", "driver", "name"), ""),
        (("runs", 0, "tool", "driver", "rules", 1, "id"), "unknown"),
        (("runs", 0, "results", 0, "message"), {}),
        (("runs", 0, "results", 0, "message", "text"), "a {0}"),
        (("runs", 0, "results", 0, "message", "text"), "layers[0](x)"),
        (("runs", 0, "results", 0, "relatedLocations", 0, "id"), -2),
        (
            (
                "runs",
                0,
                "results",
                0,
                "locations",
                0,
                "physicalLocation",
                "artifactLocation",
                "uri",
            ),
            "../port.py",
        ),
        (("runs", 0, "results", 0, "level"), "fatal"),
        (("runs", 0, "results", 0, "ruleIndex"), 0),
        (("runs", 0, "results", 0, "locations", 0, "physicalLocation", "region", "startLine"), 0),
        (("runs", 0, "invocations", 0, "executionSuccessful"), None),
    ],
)
def test_the_checker_sees_what_is_wrong(path: tuple[Any, ...], value: Any) -> None:
    document = sarif(outcome(RATE))
    part: Any = document
    for key in path[:-1]:
        part = part[key]
    assert part[path[-1]] != value
    part[path[-1]] = value
    assert faults_of(document)


# --- The command ----------------------------------------------------------------------------------


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome], None]:
    """`check` finds what is given, without running anything."""

    def give(found: Outcome) -> None:
        def check_port(*_: Any, **__: Any) -> Any:
            spec = Spec.model_validate({})
            return SimpleNamespace(outcome=found, spec=spec, cost=None, by_original=False)

        monkeypatch.setattr("mnist_mlp.parity.check.port.check_port", check_port)

    return give


def test_the_command_prints_each_format(
    cli: Cli, here: Path, checked: Callable[[Outcome], None]
) -> None:
    (here / "port.py").write_text("import torch\n", encoding="utf-8")
    checked(outcome(RATE))
    done = cli("check", "port.py:Net", "--format", "github")
    assert (done.returncode, done.stdout.splitlines()) == (1, annotated(outcome(RATE)))
    as_json = cli("check", "port.py:Net", "--format", "json")
    assert as_json.stdout == cli("check", "port.py:Net", "--json").stdout
    assert json.loads(as_json.stdout)["verdict"] == "different"
    assert cli("check", "port.py:Net", "--format", "text").stdout.startswith("original.py (a)")
    checked(outcome(verdict="inconclusive"))
    assert cli("check", "port.py:Net", "--format", "github").returncode == 6
    both = cli("check", "port.py:Net", "--format", "github", "--json")
    assert (both.returncode, "--json is --format json" in both.stderr) == (2, True)


def test_an_error_is_json_where_that_was_asked_for(cli: Cli) -> None:
    for words in (("--format", "json"), ("--format=json",)):
        done = cli("check", "missing.py:Net", *words)
        assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (2, 2)
    done = cli("check", "missing.py:Net", "--format", "github")
    assert (done.returncode, done.stdout) == (2, "")


def test_the_command_writes_sarif_and_overwrites_none(
    cli: Cli, here: Path, checked: Callable[[Outcome], None]
) -> None:
    (here / "port.py").write_text("import torch\n", encoding="utf-8")
    checked(outcome(RATE))
    assert cli("check", "port.py:Net", "--sarif", "out/check.sarif").returncode == 1
    written = json.loads((here / "out" / "check.sarif").read_text(encoding="utf-8"))
    assert written == sarif(outcome(RATE))
    again = cli("check", "port.py:Net", "--sarif", "out/check.sarif")
    assert (again.returncode, "add --overwrite" in again.stderr) == (2, True)
    foreign = here / "thesis.md"
    foreign.write_text("of another tool: sarif-2.1.0.json", encoding="utf-8")
    refused = cli("check", "port.py:Net", "--sarif", "thesis.md", "--overwrite")
    assert (refused.returncode, "is not a SARIF file of this" in refused.stderr) == (2, True)
    assert foreign.read_text(encoding="utf-8").startswith("of another tool")
    assert cli("check", "port.py:Net", "--sarif", "out", "--overwrite").returncode == 2
    below = cli("check", "port.py:Net", "--sarif", "port.py/new/check.sarif")
    assert below.returncode == 3
    assert "port.py: Not a directory; choose another --sarif" in below.stderr
    assert cli("check", "port.py:Net", "--sarif", "out/check.sarif", "--overwrite").returncode == 1
