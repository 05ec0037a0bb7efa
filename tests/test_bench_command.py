"""`bench` on seconds of work: what is kept, what is refused, and that it repeats. Nothing here
asserts a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.bench.answers import ANSWERS, COMPARE_RUNS, PREPARED, SCRIPTS, answer_cases
from mnist_mlp.bench.cases import PEERS, Choice, peer_cases, thread_cases
from mnist_mlp.bench.measure import Bench, sample
from mnist_mlp.bench.process import Others
from mnist_mlp.bench.record import Case, Document, Sample, read
from mnist_mlp.bench.targets import ANSWER_TARGETS, judge, targets_of, thread_targets
from mnist_mlp.errors import UsageError
from mnist_mlp.settings import resolve
from mnist_mlp.spec import Spec

Cli = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).parent.parent
TINY = ("--config", ROOT / "configs" / "tiny.toml", "--dataset", "digits")
FAST_ENOUGH = (*TINY, "--set", "data.rows=400", "--rounds", 1, "--epochs", 2)


def test_a_sitting_with_a_framework_and_a_missing_gpu(cli: Cli, tmp_path: Path) -> None:
    """Two backends, one of them also on the GPU that only some machines have."""
    words = (*FAST_ENOUGH, "--command-epochs", 0, "--out", "mine")
    done = cli("bench", "--backends", "numpy,torch", "--accelerators", "cpu,gpu", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "mine"
    document = read(tmp_path / "mine")
    assert [case.key for case in document.cases] == [
        *("numpy/cpu/fast", "numpy/gpu/fast", "torch/cpu/fast", "torch/gpu/fast", "limit/sgemm")
    ]
    for key in ("numpy/cpu/fast", "torch/cpu/fast"):
        (found,) = document.of(key)
        assert len(found.epochs_s) == len(found.own_epochs_s) == 2
        p = found.phases
        parts = ("spawn_s", "import_s", "build_s", "first_epoch_s", "predict_s")
        assert min(p[name] for name in parts) > 0
        assert sum(p[name] for name in parts) + sum(found.epochs_s) <= p["process_s"]
        assert p["trained_s"] + p["predict_s"] == pytest.approx(p["process_s"])
        assert 0 < found.memory["import_peak"] <= found.memory["peak"]
        assert found.facts["train_rows"] == document.train_rows
    (limit,) = document.of("limit/sgemm")
    assert len(limit.series_s["threads_1"]) == 4
    gone = {each.case: each for each in document.samples if each.status == "absent"}
    assert "numpy/gpu/fast" in gone
    assert gone["numpy/gpu/fast"].message == "no GPU here: backend numpy cannot use a GPU"
    if not document.environment["gpus"]:
        assert gone["torch/gpu/fast"].message == "no GPU here: backend torch finds no GPU"
        assert "torch/gpu/fast  no GPU here" in done.stdout
    for name in ("bench.svg", "bench.png"):
        assert (tmp_path / "mine" / name).stat().st_size > 1000


def test_the_whole_command_is_a_case_and_json_holds_it_all(cli: Cli, tmp_path: Path) -> None:
    words = (*FAST_ENOUGH, "--command-epochs", 1, "--out", "mine", "--paths", "plain", "--json")
    done = cli("bench", "--backends", "numpy", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema_version"] == 1
    by_key = {each["key"]: each for each in told["results"]["cases"]}
    assert by_key["numpy/cpu/plain/command"]["phases"]["process_s"] > 0
    assert by_key["numpy/cpu/plain/command"]["status"] == "ok"
    assert str(tmp_path) not in done.stdout  # a file that is kept names no folder of its machine
    raw = json.loads((tmp_path / "mine" / "bench.json").read_text(encoding="utf-8"))
    assert {key: told[key] for key in raw} == raw
    # Shown again from the file alone, elsewhere: the same bytes.
    figure = (tmp_path / "mine" / "bench.svg").read_bytes()
    assert cli("bench", "show", "mine/bench.json", "--out", "again").returncode == 0
    assert (tmp_path / "again" / "bench.svg").read_bytes() == figure
    assert cli("bench", "compare", "mine", "mine", "--json").returncode == 0


def test_scale_and_profile_run(cli: Cli, tmp_path: Path) -> None:
    points = ("--scale", "rows", "--points", "400,2000")
    done = cli("bench", "--backends", "numpy", *TINY, "--epochs", 1, *points, "--out", "scale")
    assert done.returncode == 0, done.stderr
    rows = [each.facts["train_rows"] for each in read(tmp_path / "scale").samples]
    assert len(rows) == 2
    # Three of four, about, since images of one scan stay together.
    assert 250 < min(rows) < 350
    assert 1450 < max(rows) < 1550
    done = cli("bench", "--backends", "numpy", *FAST_ENOUGH, "--profile", "--out", "profile")
    assert done.returncode == 0, done.stderr
    told = {each.case: each for each in read(tmp_path / "profile").samples}
    assert told["numpy/cpu/fast/profile-one-batch"].facts["train_rows"] == 64
    assert "validation" in done.stdout


def test_a_backend_that_fails_is_told_and_the_rest_is_kept(cli: Cli, tmp_path: Path) -> None:
    backends = ("--backends", "numpy,faulty_backends:Raises")
    done = cli("bench", *backends, *FAST_ENOUGH, "--command-epochs", 0, "--out", "mine")
    assert done.returncode == 3
    document = read(tmp_path / "mine")
    assert document.of("numpy/cpu/fast")
    failed = [each for each in document.samples if each.status == "failed"]
    assert [each.case for each in failed] == ["raises/cpu/fast"]
    assert failed[0].message in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--backends", "nupmy"), "unknown backend 'nupmy'"),
        (("--backends", ","), "--backends: the list is empty"),
        (("--accelerators", "tpu"), "--accelerators: unknown 'tpu'"),
        (("--paths", "quick"), "--paths: unknown 'quick'"),
        (("--scale", "depth"), "expected one of width, batch, rows, epochs"),
        (("--scale", "width", "--points", "many"), "expected whole numbers"),
        (("--points", "1,2"), "--points works only together with --scale"),
        (("--scale", "width", "--profile"), "choose one"),
        (("--peers", *TINY), "--peers"),
        (("--answers", *TINY), "--answers: the scripts"),
        (("--answers", "--peers"), "choose one"),
        (("--equal-threads", "1", *TINY), "--equal-threads: the scripts"),
        (("--equal-threads", "1,two"), "--equal-threads: expected numbers"),
        (("--equal-threads", "0"), "--equal-threads: expected numbers"),
        (("--equal-threads", "1", "--peers"), "choose one"),
        (("--rounds", "0"), "--rounds"),
    ],
)
def test_bad_arguments(words: tuple[str, ...], told: str, cli: Cli, tmp_path: Path) -> None:
    done = cli("bench", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_sitting_is_not_overwritten_unasked(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("precious", encoding="utf-8")
    done = cli("bench", "--backends", "numpy", *FAST_ENOUGH, "--out", tmp_path)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (tmp_path / "bench.json").read_text(encoding="utf-8") == "precious"


def test_other_programs_are_seen() -> None:
    """A busy child that has not ended is another program; once it has ended, it was ours."""
    source = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    others = Others()
    child = subprocess.Popen([sys.executable, "-c", source])
    time.sleep(0.8)
    meanwhile = others.cores()
    child.wait()
    afterwards = others.cores()
    assert meanwhile is not None
    assert afterwards is not None
    # Besides that child the machine may be as busy as it likes, but no busier than it can be.
    assert 0.1 < meanwhile <= (os.cpu_count() or 1) + 0.5
    assert afterwards < meanwhile


# --- Answers --------------------------------------------------------------------------------------


def test_answers_are_timed_from_the_shell_beside_the_scripts() -> None:
    cases = answer_cases(Spec(), examples=ROOT / "examples", epochs=10, threads=1)
    assert [case.key for case in cases] == [*ANSWERS, *SCRIPTS]
    known = {case.key for case in cases}
    for target in ANSWER_TARGETS:
        assert {target.above, *target.below.split(" + ")} <= known
    for before in PREPARED.values():
        assert set(before) <= set(ANSWERS)


@pytest.mark.long
def test_an_answer_is_timed_after_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    train = ("train", "--backend", "numpy", "--progress", "none", "--out")
    monkeypatch.setitem(ANSWERS, "answer/a", (*train, "{folder}/a"))
    monkeypatch.setitem(ANSWERS, COMPARE_RUNS, ("compare", "--static", "{folder}/a", "{folder}/a"))
    monkeypatch.setitem(PREPARED, COMPARE_RUNS, ("answer/a",))
    spec = resolve(config=ROOT / "configs" / "tiny.toml", environ={}).spec
    bench = Bench(dataset=lambda _: pytest.fail("not its business"))
    case = Case(key=COMPARE_RUNS, kind="answer", spec=spec, epochs=1, threads=1)
    failed = sample(case, bench, number=1, place=1)
    assert failed.status == "failed"  # without a replay, the verdict is inconclusive
    assert failed.message.startswith(f"{COMPARE_RUNS}: exit code 6")
    found = sample(case.model_copy(update={"key": "answer/a"}), bench, number=1, place=1)
    assert found.status == "ok", found.message
    assert 0 < found.phases["first_words_s"] <= found.phases["process_s"]


def test_a_target_may_be_on_the_sum_of_two_cases() -> None:
    seconds = {
        "answer/check-pair": (39.0, 40.0, 41.0),
        SCRIPTS[0]: (20.0, 20.0, 20.0),
        SCRIPTS[1]: (30.0, 30.0, 30.0),
    }
    samples = [
        Sample(case=key, round=number, place=1, phases={"process_s": value})
        for key, values in seconds.items()
        for number, value in enumerate(values, start=1)
    ]
    cases = answer_cases(Spec(), examples=ROOT / "examples", epochs=10, threads=1)
    document = Document(
        kind="answers", started="", rounds=3, seed=0, train_rows=1, test_rows=1,
        dataset={}, environment={}, cases=tuple(cases), samples=tuple(samples),
    )  # fmt: skip
    judged = {each.target.above: each for each in judge(document)}
    assert len(judged) == len(ANSWER_TARGETS)
    pair = judged["answer/check-pair"]
    assert pair.ratio is not None
    assert pair.ratio.value == pytest.approx(40 / 50)
    assert pair.verdict == "reached"
    assert judged["answer/compare"].verdict == "not measured"


# --- Peers ----------------------------------------------------------------------------------------


def test_every_peer_is_a_script_with_timings() -> None:
    cases = peer_cases(Spec(), examples=ROOT / "examples", epochs=10)
    assert {case.key for case in cases} == set(PEERS)
    for case in cases:
        source = (ROOT / "examples" / case.arguments[0]).read_text(encoding="utf-8")
        assert '"--timings"' in source
        assert '"--epochs"' in source
        assert all(f'"{word}"' in source for word in case.arguments[1:])


def test_peers_train_the_tutorial_alone() -> None:
    assert peer_cases(resolve(environ={}).spec, examples=ROOT / "examples", epochs=3)
    relu = resolve(config=ROOT / "configs" / "relu.toml", environ={}).spec
    with pytest.raises(UsageError, match="differs"):
        peer_cases(relu, examples=ROOT / "examples", epochs=3)
    with pytest.raises(UsageError, match="does not exist"):
        peer_cases(Spec(), examples=ROOT / "docs", epochs=3)


def test_a_script_is_timed_by_epoch(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    bench = Bench(dataset=lambda _: pytest.fail("not its business"), variables=(("A_WORD", "x"),))
    bench = replace(bench, examples=tmp_path)
    case = Case(key="peer/x", kind="peer", spec=Spec(), epochs=3, arguments=("script.py",))
    found = sample(case, bench, number=2, place=5)
    assert found.status == "ok", found.message
    assert (found.round, found.place) == (2, 5)
    assert (found.phases["first_epoch_s"], found.epochs_s) == (1.0, (2.0, 3.0))
    assert found.phases["process_s"] > 0.3  # it sleeps so long
    assert found.memory["peak"] > 100 * 2**20  # it holds so much
    assert found.facts == {"word": "x", "gpus": "-1"}
    wrong = case.model_copy(update={"arguments": ("script.py", "--no-such-option")})
    failed = sample(wrong, bench, number=1, place=1)
    assert failed.status == "failed"
    assert failed.message.startswith("exit code 2: ")
    assert "--no-such-option" in failed.message


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted on Linux")
def test_a_pinned_script_that_takes_other_threads_has_no_times(tmp_path: Path) -> None:
    """The second script ignores the variables; NumPy then works with more than one thread."""
    disobeys = "from threadpoolctl import threadpool_limits\nthreadpool_limits(4)\n"
    (tmp_path / "good.py").write_text("import numpy\n" + SCRIPT, encoding="utf-8")
    (tmp_path / "bad.py").write_text("import numpy\n" + disobeys + SCRIPT, encoding="utf-8")
    bench = Bench(dataset=lambda _: pytest.fail("not its business"), variables=(("A_WORD", "x"),))
    bench = replace(bench, examples=tmp_path)
    case = Case(key="peer/x", kind="peer", spec=Spec(), epochs=3, threads=1, arguments=("good.py",))
    good = sample(case, bench, number=1, place=1)
    assert good.status == "ok", good.message
    assert good.epochs_s == (2.0, 3.0)
    assert good.facts["threads_counted"] == {"numpy": 1.0}
    wrong = sample(case.model_copy(update={"arguments": ("bad.py",)}), bench, number=1, place=1)
    assert wrong.status == "failed"
    assert wrong.message.startswith("numpy worked with ")
    assert "expected 1" in wrong.message


def test_both_sides_of_a_target_have_the_same_threads() -> None:
    cases = thread_cases(
        Spec(), Choice(("keras", "torch")), threads=(1, 2), examples=ROOT / "examples", epochs=10
    )
    by_key = {case.key: case for case in cases}
    document = Document(
        kind="threads", started="", rounds=1, seed=0, train_rows=1, test_rows=1,
        dataset={}, environment={}, cases=tuple(cases),
    )  # fmt: skip
    wanted = targets_of(document)
    assert len(wanted) == 2 * len(thread_targets(1))
    assert {by_key[target.above].threads for target in wanted} == {1, 2}
    for target in wanted:
        assert by_key[target.above].threads == by_key[target.below].threads


SCRIPT = """
import argparse, json, os, time
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("--epochs", type=int)
options.add_argument("--timings", type=Path)
chosen = options.parse_args()
held = b"x" * (100 * 2**20)
time.sleep(0.4)
told = {"word": os.environ["A_WORD"], "gpus": os.environ["CUDA_VISIBLE_DEVICES"]}
told["epochs_s"] = [float(n + 1) for n in range(chosen.epochs)]
chosen.timings.write_text(json.dumps(told))
"""
