"""An out-of-memory error of any framework becomes one message with batch size and bytes."""

from __future__ import annotations

import pytest

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import EXIT_ENVIRONMENT, BackendError, SetupError
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.out_of_memory import asked_bytes, is_out_of_memory
from mnist_mlp.worker.parent import Worker

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total", 20 * 2**20),
        ("can't allocate memory: you tried to allocate 40000000000000000 bytes. Err", 4 * 10**16),
        ("OOM when allocating tensor with shape[100,10] and type double on /job", 8000),
        ("OOM when allocating tensor with shape[] and type float on /job", 4),
        ("Out of memory while trying to allocate 36.42TiB. [Op:__inference", round(36.42 * 2**40)),
        ("RESOURCE_EXHAUSTED: Failed to allocate request for 89.41GiB (96B) on", 96_003_256_484),
        ("Out of memory while trying to allocate 96000000000 bytes.", 96_000_000_000),
        ("Unable to allocate 71.1 PiB for an array with shape (10,)", round(71.1 * 2**50)),
        ("OOM when allocating tensor with shape[3] and type complex128 on /job", None),
        ("CUDA error: out of memory", None),
    ],
)
def test_bytes_of_every_framework_s_words(text: str, asked: int | None) -> None:
    assert asked_bytes(text) == asked
    assert is_out_of_memory(RuntimeError(text)) or "allocate" in text


def test_other_errors_are_left_alone() -> None:
    for text in ("no kernel for this device", "shape mismatch: [52500,457000] and 4 GiB"):
        assert not is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        ("TensorFlow", 52_500 * 457_000 * 4),
        ("Cuda", round(89.5 * GIB)),
        ("Real", 4 * 10**16),
        ("Host", round(71.1 * 2**50)),
    ],
)
def test_batch_size_and_bytes(small_data: Dataset, name: str, bytes_: int) -> None:
    spec = parse_spec(
        {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 117, "epochs": 1}}
    )
    plan = make_plan(spec, small_data)
    with Worker(f"without_memory:{name}Backend", accelerator="cpu") as worker:
        worker.open(spec)
        with pytest.raises(SetupError) as caught:
            worker.fit(plan, training_data(plan, small_data))
    assert not isinstance(caught.value, BackendError)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert str(caught.value) == (
        f"out of memory on the cpu: backend 'without_memory:{name}Backend' in batches of 117 rows "
        f"asked for {bytes_:,} bytes, more than are free; lower --batch-size or model.layer_sizes"
    )
