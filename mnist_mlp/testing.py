"""For test suites: an assertion that fails, and names the cause, if a port trains differently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_mlp.api import check, specification
from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.parity.outcome import Outcome, as_text, break_text
from mnist_mlp.ports.user_code import is_script
from mnist_mlp.spec import Spec
from mnist_mlp.worker.warm import warm_workers

__all__ = ["assert_same_training", "judged", "require_same", "warm_workers"]


def assert_same_training(
    port: Any,
    expected: Any = None,
    *,
    dataset: Dataset | str = "auto",
    image_shape: Sequence[int] = (),
    timeout: float | None = None,
    **settings: Any,
) -> None:
    """Assert that a port trains like its specification or its original.

    Parameters
    ----------
    port : str, or any object
        `FILE.py:NAME`, or a script that trains (`FILE.py`, `FILE.ipynb`); see `docs/porting.md`. Or
        what stands under such a name: a model or module, a class or function that makes one.
    expected : str, Path, Spec, or any object, optional
        An original (the same), a specification, or a TOML file; the tutorial by default.
    dataset : Dataset or {"auto", "mnist", "digits"}
        `digits` needs no download.
    image_shape : sequence of int
        Shape of one input as the port expects it, without the batch axis; flat by default.
    timeout : float, optional
        Most seconds that a user's code may run without a report. By default there is no limit.
    **settings
        `epochs`, `batch_size`, `learning_rate`, `seed`, `precision`.

    Raises
    ------
    AssertionError
        The port trains differently. The text names the first break, its cause and its cure.

    Examples
    --------
    In a test suite (not run as a doctest, because it starts the port's framework)::

        def test_the_port_is_faithful():
            assert_same_training("port.py:Port", "original.py:build", dataset="digits", epochs=2)
    """
    __tracebackhide__ = True
    require_same(
        judged(
            *(port, expected),
            dataset=dataset,
            image_shape=image_shape,
            timeout=timeout,
            **settings,
        )
    )


def judged(
    port: Any,
    expected: Any = None,
    *,
    dataset: Dataset | str = "auto",
    image_shape: Sequence[int] = (),
    timeout: float | None = None,
    **settings: Any,
) -> Outcome:
    """The outcome that `assert_same_training` asserts."""
    if isinstance(expected, str):
        is_original = ".py:" in expected or is_script(expected)
    else:
        is_original = not isinstance(expected, Path | Spec | None)
    spec = specification(None if is_original else expected, settings)
    return check(
        port,
        expected if is_original else None,
        spec=spec,
        dataset=load_dataset(dataset) if isinstance(dataset, str) else dataset,  # type: ignore[arg-type]
        image_shape=image_shape,
        timeout=timeout,
    ).outcome


def require_same(outcome: Outcome) -> None:
    """Raise `AssertionError` unless the verdict is `identical` or `equivalent`."""
    __tracebackhide__ = True
    if outcome.verdict in ("identical", "equivalent"):
        return
    first = outcome.first_break
    message = break_text(first, outcome.sides) if first else as_text(outcome)
    raise AssertionError(f"{outcome.text}\n{message}")
