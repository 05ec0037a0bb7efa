"""Ratios with intervals, the unstable flag and the comparison of sittings, on planted truths."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from mnist_mlp.bench import targets
from mnist_mlp.bench.compare import compare, notes
from mnist_mlp.bench.record import Case, Document, Sample, read
from mnist_mlp.bench.results import gpu_ratios, row, table
from mnist_mlp.bench.sitting import shuffled
from mnist_mlp.bench.statistics import ratio, spread
from mnist_mlp.errors import DataError
from mnist_mlp.spec import Spec

Cli = Callable[..., CompletedProcess[str]]
Epochs = list[list[float]]


def sitting(epochs: dict[str, Epochs], **changes: Any) -> Document:
    """A sitting with these steady epochs, by case and process; whole commands take 10 epochs."""
    cases, samples = [], []
    for key, processes in epochs.items():
        kind = "limit" if key == "limit/sgemm" else "peer" if key.startswith("peer") else "worker"
        kind = "command" if key.endswith("/command") else kind
        cases.append(Case(key=key, kind=kind, spec=Spec(), epochs=len(processes[0])))
        for number, values in enumerate(processes, start=1):
            content: dict[str, Any] = {"epochs_s": tuple(values)}
            if kind in ("peer", "command"):
                content["phases"] = {"process_s": 10 * float(np.median(values))}
            if kind == "command":
                del content["epochs_s"]
            samples.append(Sample(case=key, round=number, place=1, **content))
    content = {
        "kind": "cases",
        "started": "2026-01-01T00:00:00+00:00",
        "rounds": 3,
        "seed": 0,
        "train_rows": 52_500,
        "test_rows": 17_500,
        "dataset": {"name": "mnist"},
        "environment": {"processor": "a processor", "cores": 2, "packages": {"torch": "1"}},
        "cases": tuple(cases),
        "samples": tuple(samples),
        **changes,
    }
    return Document(**content)


def noisy(level: float, *, seed: int, processes: int = 5, noise: float = 0.02) -> Epochs:
    """Processes of 7 epochs: each has a level of its own, and its epochs spread around it."""
    rng = np.random.default_rng(seed)
    levels = level * rng.lognormal(0, noise, processes)
    return [(each * rng.lognormal(0, noise, 7)).tolist() for each in levels]


def verdicts(old: Document, new: Document) -> dict[str, str]:
    return {change.key: change.verdict for change in compare(old, new)}


# --- The ratio and its interval -------------------------------------------------------------------


def by_round(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_the_interval_holds_the_true_ratio() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(100):
        x, y = 2 * rng.lognormal(0, 0.1, 5), rng.lognormal(0, 0.1, 5)
        held += ratio(by_round(x.tolist()), by_round(y.tolist())).holds(2)
    assert held >= 94


def test_the_interval_is_seeded_and_not_for_too_few() -> None:
    x, y = by_round([1.0, 1.1, 1.2]), by_round([2.0, 2.1, 2.3])
    assert ratio(y, x) == ratio(y, x)
    assert ratio(y, x).value == pytest.approx(2.1 / 1.1)
    few = ratio(by_round([2.0, 2.1]), x)
    assert (few.low, few.high) == (None, None)
    constant = ratio(by_round([2.0] * 3), by_round([1.0] * 3))
    assert (constant.low, constant.value, constant.high) == (2, 2, 2)


# --- bench compare --------------------------------------------------------------------------------


def test_planted_changes_are_told(tmp_path: Path, cli: Cli) -> None:
    """Twice as slow, 5 % faster with little noise, equal, and 5 % within much noise."""
    old = sitting(
        {
            "a": noisy(0.5, seed=1),
            "b": noisy(0.5, seed=2, noise=0.005),
            "c": noisy(0.5, seed=3),
            "d": noisy(0.5, seed=4, noise=0.2),
        }
    )
    new = sitting(
        {
            "a": noisy(1.0, seed=5),
            "b": noisy(0.475, seed=6, noise=0.005),
            "c": noisy(0.5, seed=7),
            "d": noisy(0.525, seed=8, noise=0.2),
        }
    )
    expected = {"a": "slower", "b": "faster", "c": "not significant", "d": "not significant"}
    assert verdicts(old, new) == expected
    turned = {"a": "faster", "b": "slower", "c": "not significant", "d": "not significant"}
    assert verdicts(new, old) == turned
    for name, document in (("old", old), ("new", new)):
        document.write(tmp_path / name / "bench.json")
    done = cli("bench", "compare", "old/bench.json", "new")  # a folder will do
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert lines["a"].endswith("slower")
    assert lines["c"].endswith("not significant")


def test_a_sitting_equals_itself() -> None:
    one = sitting({"a": noisy(0.5, seed=1), "b": noisy(0.1, seed=2, noise=0.3)})
    assert set(verdicts(one, one).values()) == {"not significant"}


def test_too_few_processes_are_unknown_whatever_they_show() -> None:
    old, new = sitting({"a": [[1.0]]}), sitting({"a": [[5.0]]})
    (change,) = compare(old, new)
    assert change.verdict == "unknown"
    assert change.ratio is not None
    assert change.ratio.value == 5
    assert "1 and 1 processes" in change.detail
    # Many epochs of one process don't tell how processes differ.
    assert verdicts(sitting({"a": [[1.0] * 50]}), sitting({"a": [[5.0] * 50]})) == {"a": "unknown"}


def test_what_is_not_the_same_is_not_compared() -> None:
    old = sitting({"a": noisy(1, seed=1), "b": noisy(1, seed=2)})
    wide = Spec().model_copy(update={"seed": 7})
    other = old.cases[0].model_copy(update={"spec": wide})
    new = old.model_copy(update={"cases": (other,), "samples": old.samples[:5]})
    assert verdicts(old, new) == {"a": "not comparable", "b": "missing"}
    # Another number of epochs is another length of the same thing.
    longer = old.model_copy(
        update={"cases": tuple(case.model_copy(update={"epochs": 99}) for case in old.cases)}
    )
    assert set(verdicts(old, longer).values()) == {"not significant"}
    fewer = old.model_copy(update={"train_rows": 1200})
    assert set(verdicts(old, fewer).values()) == {"not comparable"}


def test_other_machines_and_a_slower_machine_are_told() -> None:
    old = sitting({"limit/sgemm": noisy(0.2, seed=1), "a": noisy(1, seed=2)})
    machine = {**old.environment, "packages": {"torch": "2"}, "cores": 8}
    new = sitting({"limit/sgemm": noisy(0.4, seed=3), "a": noisy(2, seed=4)}, environment=machine)
    told = notes(old, new, compare(old, new))
    assert "torch: 1 before, 2 now" in told
    assert "cores: 2 before, 8 now" in told
    assert any("the machine itself is slower" in line for line in told)
    assert not notes(old, old, compare(old, old))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"some\.json"):
        read(path)
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw["samples"][0].update(epochs_s=[0.0]), "samples.0.epochs_s.0: "),
        (lambda raw: raw["samples"][0].update(epochs_s=[1e300]), "samples.0.epochs_s.0: "),
        (lambda raw: raw["samples"][0].update(round=10**6), "less than or equal to 1000"),
        (lambda raw: raw["samples"][0].update(facts={"train_rows": "x"}), "train_rows is 'x'"),
        (lambda raw: raw["samples"][0].update(memory={"peak": -1}), "samples.0.memory.peak"),
        (lambda raw: raw["samples"][0].update(case="x" * 10**6), "does not list: ['xxx"),
        (lambda raw: raw["samples"][0].update(message="\x1b[2J"), "control characters"),
        (lambda raw: raw["environment"].update({"\x07": 1}), "control characters: '\\x07'"),
        (lambda raw: raw.update(cases=[], samples=[]), "cases: "),
        (lambda raw: raw["cases"].append(raw["cases"][0]), "lists a case twice"),
        (lambda raw: raw.update(axis="depth"), "axis: "),
        (lambda raw: raw.update(train_rows=0), "train_rows: "),
    ],
)
def test_a_sitting_that_cannot_be_shown(
    tmp_path: Path, change: Callable[[Any], object], words: str
) -> None:
    raw = sitting({"a": noisy(0.5, seed=1)}).as_json()
    change(raw)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400


def test_a_file_reads_as_it_was_written(tmp_path: Path) -> None:
    document = sitting({"a": noisy(0.5, seed=1), "peer/x": noisy(1, seed=2)})
    document.write(tmp_path / "bench.json")
    assert read(tmp_path) == document


# --- Unstable, table, targets ---------------------------------------------------------------------


def test_unstable_between_processes_within_and_neither() -> None:
    quiet = sitting({"a": noisy(1, seed=1, noise=0.01)})
    assert not spread(quiet.of("a")).unstable
    assert "unstable" not in table(quiet)
    between = sitting({"a": [[1.0, 1.0, 1.0], [1.3, 1.3, 1.3], [1.0, 1.0, 1.0]]})
    found = spread(between.of("a"))
    assert found.processes == pytest.approx(0.3)
    assert found.epochs == 0
    assert found.unstable
    text = table(between)
    assert "a is unstable: processes differ by 30.0% (limit 20%)" in text
    assert "--rounds" in text
    within = sitting({"a": [[1.0, 1.3, 0.7, 1.0, 1.4, 0.6, 1.0]] * 3})
    assert spread(within.of("a")).epochs == pytest.approx(1.4826 * 0.3)
    assert spread(within.of("a")).unstable
    assert not spread(sitting({"a": [[1.0]]}).of("a")).unstable
    # As regular as can be, but beside another program that kept a core busy.
    busy = quiet.model_copy(
        update={"samples": tuple(s.model_copy(update={"others_cores": 1.0}) for s in quiet.samples)}
    )
    assert spread(busy.of("a")).unstable
    assert "other programs used 1.0 cores (limit 0.25)" in table(busy)
    # One wild epoch, a backup that started, is no instability.
    assert not spread(sitting({"a": [[1.0, 1.01, 0.99, 1.0, 9.0, 1.0, 1.01]] * 3}).of("a")).unstable


def test_a_row_counts_steps_and_images() -> None:
    document = sitting({"a": [[0.4, 0.5, 0.9], [0.5, 0.5, 0.5], [0.6, 0.7, 0.5]]})
    found = row(document, document.cases[0])
    assert found.epoch_s == 0.5
    assert found.steps_per_s == pytest.approx(411 / 0.5)
    assert found.images_per_s == pytest.approx(52_500 / 0.5)
    assert (found.fastest_s, found.slowest_s, found.processes) == (0.4, 0.9, 3)


def test_gpu_over_cpu() -> None:
    document = sitting({"a/cpu/fast": noisy(1, seed=1), "a/gpu/fast": noisy(0.1, seed=2)})
    cases = [
        case.model_copy(update={"backend": "a", "accelerator": accelerator, "fit_path": "fast"})
        for case, accelerator in zip(document.cases, ("cpu", "gpu"), strict=True)
    ]
    document = document.model_copy(update={"cases": tuple(cases)})
    found = gpu_ratios(document)["a/fast"]
    assert found.holds(10)
    assert not found.holds(8)
    assert "times as fast as on the CPU" in table(document)
    # Another variant on the CPU is no counterpart.
    other = (cases[0].model_copy(update={"validated": False}), cases[1])
    assert gpu_ratios(document.model_copy(update={"cases": other})) == {}


def test_targets_are_judged_by_the_right_side() -> None:
    document = sitting(
        {
            "peer/tutorial_keras": noisy(2.0, seed=1),
            "keras/cpu/fast": noisy(0.4, seed=2),
            "keras/cpu/fast/training": noisy(0.35, seed=3),
            "peer/torch_loop/training": noisy(0.4, seed=4),
            "keras/cpu/fast/command": noisy(1.36, seed=5, noise=0.1),
            "limit/sgemm": noisy(0.1, seed=6),
        }
    )
    judged = {each.target.words: each for each in targets.judge(document)}
    tutorial = judged["tutorial script / Keras fast, an epoch"]
    assert tutorial.verdict == "reached"
    assert tutorial.ratio is not None
    assert tutorial.ratio.holds(5)
    assert judged["Keras fast / bare torch loop, training alone"].verdict == "not reached"
    assert judged["Keras fast / sgemm, training alone"].verdict == "not reached"
    assert judged["Keras fast / MLPClassifier, an epoch"].verdict == "not measured"
    command = judged["tutorial script / Keras command, shell to report"]
    assert "within the noise" in command.verdict
    # A target in seconds is there only where it was measured.
    assert not any("GPU" in words for words in judged)
    on_gpu = sitting({"torch/gpu/fast/training": noisy(0.02, seed=1)})
    assert [each.verdict for each in targets.judge(on_gpu) if each.ratio] == ["reached"]
    text = targets.as_text(list(judged.values()))
    assert ">= 4" in text
    assert "<= 0.8" in text


def test_rounds_are_shuffled_anew_and_alike() -> None:
    orders = shuffled(9, rounds=4, seed=3)
    assert orders == shuffled(9, rounds=4, seed=3)
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(9)) for order in orders)
