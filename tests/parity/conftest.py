"""Helpers of these tests are plain modules beside them. Arrays are small: one thread is best."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "faulty")]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """NumPy's own threads would wait for each other longer than they work."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where finished runs of the small problem lie."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, no_figures: None) -> None:
    """Backends are called in this process, and draw no pictures."""
    from finished_runs import InProcess

    for module in ("training", "worker.of_run"):
        monkeypatch.setattr(f"mnist_mlp.{module}.Worker", InProcess)
