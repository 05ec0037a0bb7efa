"""Where an epoch of a loop's own batches ends."""

from __future__ import annotations

import numpy as np

from mnist_mlp.ports.recording import Recording


def test_a_row_that_the_data_have_twice_ends_no_epoch() -> None:
    x = np.arange(12.0).reshape(6, 2)
    x[4] = x[0]  # the first of the last batch
    seen = Recording()
    for _ in range(3):
        for start in (0, 2, 4):
            assert not seen.add(x[start : start + 2], start)
    seen.close(ended=True)
    assert seen.epochs == [[0, 2, 4]] * 3
