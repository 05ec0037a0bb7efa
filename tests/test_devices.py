"""Several devices train one run: the same one, but for roundings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.contract import Capabilities, Devices, Environment, Progress
from mnist_mlp.data import Dataset
from mnist_mlp.errors import BackendError, SetupError, UsageError
from mnist_mlp.parity.compare.runs import compare_runs
from mnist_mlp.plan import make_plan, share, training_data
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import train
from mnist_mlp.worker.devices import count_refusal, is_first
from mnist_mlp.worker.parent import Worker

SPEC = """
name = "shared"
[data]
dataset = "auto"
[model]
layer_sizes = [30, 9, 4]
activations = ["leaky_relu(0.1)", "softmax"]
[optimizer]
learning_rate = 0.5
momentum = 0.5
clip_norm = 1.0
[training]
batch_size = 31
epochs = 2
precision = "float64"
"""
# 187 training rows are 6 batches of 31, and one of a single row: the second rank's share of it is
# empty, and its shares of the others are smaller by a row.


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shared") / "shared.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def spec() -> Spec:
    return parse_spec(tomllib.loads(SPEC))


@pytest.mark.parametrize("rows", [0, 1, 2, 20, 31])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_each_row_is_in_one_share(rows: int, ranks: int) -> None:
    positions = np.arange(rows)[::-1]
    shares = [share(positions, rank=rank, ranks=ranks) for rank in range(ranks)]
    np.testing.assert_array_equal(np.concatenate(shares), positions)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_batch_of_one_row_is_there(spec: Spec, small_data: Dataset) -> None:
    plan = make_plan(spec, small_data)
    rows = [plan.rows_of_batch(index) for index in range(plan.steps_per_epoch)]
    assert rows == [len(batch) for batch in plan.batches(1)] == [31] * 6 + [1]


@pytest.mark.long
def test_two_processes_of_torchrun_make_the_run_of_one(
    spec: Spec,
    config: Path,
    idx_dir: Path,
    small_data: Dataset,
    tmp_path: Path,
    no_figures: None,
) -> None:
    """Each of two commands is a rank. The replay starts its ranks itself, to the same bits."""
    one = train(spec, backend="torch", dataset=small_data, out=tmp_path / "one", accelerator="cpu")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--module", "mnist_mlp", "train", "--backend", "torch"),
            *("--devices", "2", "--config", config, "--data-dir", idx_dir, "--accelerator", "cpu"),
            *("--out", tmp_path / "two"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    two = Run(tmp_path / "two")
    assert done.stdout.splitlines().count(str(two.path)) == 1  # one of the two commands says it
    record = two.record
    assert (record.devices, record.fit_path, record.flags["ranks"]) == (2, "plain", 2)
    assert record.flags["launcher"] == "torchrun"
    assert record.flags["process_group"] == "gloo"
    assert "plain path" in record.flags["fallback"]
    for name, weight in one.weights.items():
        np.testing.assert_allclose(two.weights[name], weight, rtol=0, atol=1e-10)
    for a, b in zip(one.history, two.history, strict=True):
        assert (a.accuracy, a.val_accuracy) == (b.accuracy, b.val_accuracy)
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-12)
    outcome = compare_runs(one, two, dataset=small_data)
    assert outcome.verdict in ("identical", "equivalent"), outcome


@pytest.mark.long
def test_a_rank_that_dies_ends_all(spec: Spec, small_data: Dataset) -> None:
    long = spec.training.model_copy(update={"epochs": 10_000})
    plan = make_plan(spec.model_copy(update={"training": long}), small_data)
    seen: list[int] = []

    def kill(_: Any) -> None:
        if not seen:
            seen.extend(ranks_of(worker._process.pid))
            os.kill(seen[-1], signal.SIGKILL)

    with Worker("torch", accelerator="cpu", devices=Devices(2)) as worker:
        worker.open(plan.spec)
        progress = Progress(epoch=lambda _: None, step=kill)
        with pytest.raises(
            BackendError, match=r"rank 1 of 2 \(process \d+\) died \(killed by SIGK"
        ):
            worker.fit(plan, training_data(plan, small_data), progress)
        assert len(seen) == 2
        assert not ranks_of(worker._process.pid)


def ranks_of(pid: int) -> list[int]:
    """The processes that a worker has spawned, in the order of their ranks."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return sorted(child for child, line in lines.items() if b"spawn_main" in line)


@pytest.mark.parametrize("name", ["keras", "numpy"])
def test_others_refuse_several_devices(name: str, cli: Callable[..., Any], idx_dir: Path) -> None:
    done = cli(
        *("train", "--backend", name, "--data-dir", idx_dir, "--devices", 2, "--out", "run"),
        *("--set", "model.layer_sizes=[30, 9, 4]"),
    )
    assert done.returncode == 2
    assert f"--devices 2: backend {name!r} trains on one device; use --backend torch" in done.stderr
    assert not Path("run").exists()


def test_no_more_devices_than_there_are() -> None:
    two = Environment({}, gpus=("a", "b"))
    assert count_refusal(Devices(2), accelerator="gpu", environment=two) is None
    refused = count_refusal(Devices(3), accelerator="gpu", environment=two)
    assert isinstance(refused, SetupError)
    assert "this machine can run 2 GPUs" in str(refused)
    assert count_refusal(Devices(2), accelerator="cpu", environment=two) is None
    assert count_refusal(Devices(1000), accelerator="cpu", environment=two) is not None


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "1"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}
ALONE = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        (TORCHRUN, False),
        (SLURM, True),
        ({**SLURM, **TORCHRUN}, False),
        (ALONE, False),
        ({**ALONE, "NODE_RANK": "0"}, True),
        ({**SLURM, "SLURM_JOB_NAME": "bash", **ALONE}, False),
    ],
    ids=["torchrun", "slurm", "both", "second machine", "first machine", "interactive"],
)
def test_the_first_process_writes(environment: dict[str, str], first: bool) -> None:
    assert is_first(Devices(2, nodes=2), environment) is first


@pytest.mark.parametrize(
    ("devices", "environment", "said"),
    [
        (Devices(3), TORCHRUN, "needs 3 processes, but torchrun started 4"),
        (Devices(8), SLURM, "needs 8 processes, but SLURM started 4"),
        (Devices(2, nodes=2), {"NODE_RANK": "0"}, "set MASTER_ADDR, MASTER_PORT there"),
    ],
)
def test_processes_that_do_not_fit(
    devices: Devices, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        is_first(devices, environment)


def test_runs_that_share_nothing_are_not_ranks() -> None:
    """Many runs of one device, such as the seeds of a job array, each write their own folder."""
    assert is_first(Devices(), TORCHRUN)
    assert not Capabilities().devices
