"""The run of the reference: the same states, in whatever order they are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from time import sleep

import numpy as np
import pytest
from small_problems import problem, spec_of

from mnist_mlp.contract import State
from mnist_mlp.parity.steps import trajectory
from mnist_mlp.parity.steps.trajectory import ReferenceRun, begin

ADAM = spec_of(name="adam", learning_rate=0.01, epochs=5)
GIVEN = problem(ADAM)
PER_EPOCH = GIVEN.plan.steps_per_epoch
END = PER_EPOCH * 5 + 1


def run() -> ReferenceRun:
    return ReferenceRun(GIVEN.plan, GIVEN.data)


def assert_same(a: State, b: State) -> None:
    assert a.step == b.step
    assert a.slots.keys() == b.slots.keys()
    for left, right in ((a.weights, b.weights), *((a.slots[k], b.slots[k]) for k in a.slots)):
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])


@pytest.mark.parametrize(
    "requests",
    [
        [[1, END]],
        [[END], [1]],
        [[PER_EPOCH, PER_EPOCH + 1], [PER_EPOCH + 2], [3], [END]],
        [[step] for step in range(END, 0, -7)],
    ],
)
def test_states_do_not_depend_on_how_they_are_asked_for(requests: list[list[int]]) -> None:
    straight, asked = run().states(range(1, END + 1)), run()
    for steps in requests:
        for step, state in asked.states(steps).items():
            assert_same(state, straight[step])


def test_a_later_request_continues_from_the_nearest_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    real = ReferenceRun._step

    def counted(self: ReferenceRun, state: State, rows: object) -> object:
        steps.append(state.step + 1)
        return real(self, state, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceRun, "_step", counted)
    asked = run()
    asked.states([1, 2, END])
    assert steps == list(range(1, END))
    steps.clear()
    asked.states([2, 3 * PER_EPOCH + 3])
    assert steps == [3 * PER_EPOCH + 1, 3 * PER_EPOCH + 2]
    steps.clear()
    asked.states([1, 2, 3 * PER_EPOCH + 3, END])
    asked.epochs(5)
    assert steps == []


def test_few_states_are_kept_to_continue_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory, "KEPT", 3)
    straight, asked = run().states(range(1, END + 1)), run()
    asked.states([END])
    # Four are too many, so that every second one goes; the newest stays, to go on from.
    assert sorted(asked._between) == [0, 4 * PER_EPOCH, END - 1]
    for step in (2 * PER_EPOCH, 4 * PER_EPOCH + 1):
        assert_same(asked.states([step])[step], straight[step])


def test_later_states_are_on_the_way_of_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from there in its own precision, and computes nothing that comes before."""
    states = ReferenceRun(GIVEN.plan, GIVEN.data, dtype=np.float32).states([3 * PER_EPOCH + 1])
    (other,) = states.values()
    steps = []
    dtype = np.dtype(np.float32)
    real = ReferenceRun._step

    def counted(self: ReferenceRun, state: State, rows: object) -> object:
        steps.append(state.step + 1)
        assert state.weights["layers.0.kernel"].dtype == dtype
        return real(self, state, rows)  # type: ignore[arg-type]

    asked = run()
    asked.pass_through({3: other})
    monkeypatch.setattr(ReferenceRun, "_step", counted)
    at = 3 * PER_EPOCH + 1
    assert_same(asked.states([at])[at], other)
    asked.states([at + 2, 4 * PER_EPOCH + 2])
    assert steps == list(range(at, 4 * PER_EPOCH + 2))
    steps.clear()
    dtype = np.dtype(np.float64)
    assert_same(asked.states([2])[2], run().states([2])[2])
    assert steps == [1, 1]


@pytest.mark.parametrize("lacks", ["a finite number", "a slot", "its shape"])
def test_a_state_that_nothing_goes_on_from_is_left_out(lacks: str) -> None:
    at = 2 * PER_EPOCH + 1
    whole = run().states([at])[at]
    if lacks == "its shape":
        moments = {name: t[:1] for name, t in whole.slots["second_moment"].items()}
        state = replace(whole, slots={**whole.slots, "second_moment": moments})
    elif lacks == "a slot":
        state = replace(whole, slots={"first_moment": whole.slots["first_moment"]})
    else:
        bias = whole.weights["layers.1.bias"].copy()
        bias[2] = np.nan
        state = replace(whole, weights={**whole.weights, "layers.1.bias": bias})
    asked = run()
    asked.pass_through({2: state})
    assert_same(asked.states([at])[at], whole)


def test_epochs_are_counted_once_each_in_order() -> None:
    asked = run()
    asked.states([END])
    asked.states([PER_EPOCH + 5, 2])
    epochs = asked.epochs(5)
    assert len(epochs) == 5
    assert all(len(epoch.losses) == PER_EPOCH for epoch in epochs)
    assert epochs[0].losses[0] == run().epochs(1)[0].losses[0]
    assert epochs[4].losses.mean() < epochs[0].losses.mean()


def test_a_run_that_begins_in_the_background_is_the_same_run() -> None:
    asked, other = run(), ReferenceRun(GIVEN.plan, GIVEN.data, dtype=np.float32)
    begin(lambda: asked.states([END]), lambda: other.states([END]))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(asked.states, ([END], [3, END], [PER_EPOCH])))
    straight = run().states([3, PER_EPOCH, END])
    for states in found:
        for step, state in states.items():
            assert_same(state, straight[step])
    assert not np.array_equal(
        other.states([END])[END].weights["layers.0.kernel"],
        straight[END].weights["layers.0.kernel"],
    )


USERS_OF_BLAS = """
from threading import Thread
from threadpoolctl import threadpool_info
from mnist_mlp.parity.steps.trajectory import one_blas_thread, one_blas_thread_throughout

def threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

def use():
    with one_blas_thread(), one_blas_thread():
        print(threads(), end=" ")
    print(threads())

def elsewhere():
    thread = Thread(target=use)
    thread.start()
    thread.join()

use()
for _ in range(2):
    elsewhere()
use()
with one_blas_thread_throughout():
    elsewhere()
    with one_blas_thread_throughout():
        use()
    elsewhere()
use()
elsewhere()
"""


def test_blas_has_one_thread_whoever_used_it_before() -> None:
    # The limit belongs to the thread that set it. A thread that did not give it back would keep
    # all others from setting it, without an error. In a process of its own, since the tests of
    # this folder run with one thread anyway.
    two = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    ran = subprocess.run(
        [sys.executable, "-c", USERS_OF_BLAS], env=two, capture_output=True, text=True, check=True
    )
    given_back, kept = "{1} {2}", "{1} {1}"
    assert ran.stdout.splitlines() == [given_back] * 4 + [kept] * 3 + [given_back] * 2


def test_a_state_is_handed_out_while_later_ones_are_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever needs the first one need not wait for the last one."""
    go_on, real, asked = Event(), ReferenceRun._step, run()

    def waits(self: ReferenceRun, state: State, rows: object) -> object:
        if state.step == PER_EPOCH:
            assert go_on.wait(60)
        return real(self, state, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceRun, "_step", waits)
    begin(lambda: asked.states([3, PER_EPOCH + 1, END]))
    while not asked._busy:
        sleep(0.001)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(asked.states, [3]).result(60)
        late = pool.submit(asked.states, [2, END])
        assert not late.done()
        go_on.set()
        assert late.result(60).keys() == {2, END}
    assert_same(early[3], run().states([3])[3])


def test_a_failure_of_one_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = ReferenceRun._step, run()

    def fails_once(self: ReferenceRun, state: State, rows: object) -> object:
        monkeypatch.setattr(ReferenceRun, "_step", real)
        raise MemoryError

    monkeypatch.setattr(ReferenceRun, "_step", fails_once)
    with pytest.raises(MemoryError):
        asked.states([5])
    with ThreadPoolExecutor(1) as pool:
        assert_same(pool.submit(asked.states, [5]).result(60)[5], run().states([5])[5])
