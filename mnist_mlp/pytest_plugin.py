"""The pytest fixture `same_training`: `assert_same_training`, and what it found in the test report.

Registered as a plugin of pytest, so that it is at hand wherever this package is installed. Nothing
is imported before a test asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def _warm_workers() -> Iterator[None]:
    """From the third check of a session on, the frameworks are not imported again."""
    from mnist_mlp.testing import warm_workers

    with warm_workers():
        yield


@pytest.fixture
def same_training(
    _warm_workers: None, record_property: Callable[[str, object], None]
) -> Callable[..., None]:
    """`mnist_mlp.testing.assert_same_training`, which also records its result.

    With `--junitxml`, the test has the properties `mnist_mlp.verdict` and, if the port differs,
    `mnist_mlp.place` and `mnist_mlp.cause` of the first break; `mnist_mlp.line` and
    `mnist_mlp.line_of_original` are the lines to blame, as far as they are known. After several
    calls in one test, each property is there for each call.

    Examples
    --------
    ::

        def test_the_port_is_faithful(same_training):
            same_training("port.py:Port", "original.py:build", dataset="digits", epochs=2)
    """
    from mnist_mlp.parity.outcome import place_text
    from mnist_mlp.testing import judged, require_same

    def assert_same(*arguments: Any, **options: Any) -> None:
        __tracebackhide__ = True
        outcome = judged(*arguments, **options)
        record_property("mnist_mlp.verdict", outcome.verdict)
        first = outcome.first_break
        if first is not None:
            record_property("mnist_mlp.place", place_text(first))
            record_property("mnist_mlp.cause", first.cause.name)
            for side, line in sorted(first.lines.items(), reverse=True):
                name = "line" if side == "b" else "line_of_original"
                record_property(f"mnist_mlp.{name}", str(line))
        require_same(outcome)

    return assert_same
