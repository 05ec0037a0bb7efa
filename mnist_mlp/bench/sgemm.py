"""The limit of the machine: the matrix products of one epoch and nothing else, by NumPy's BLAS.

    python -m mnist_mlp.bench.sgemm configs/tutorial.toml --rows 52500

For each layer, a step needs the forward product `x @ w`, the gradient of the kernel `x.T @ d` and,
except in the first layer, the gradient of the input `d @ w.T`. For the tutorial these are 24 GFLOP
an epoch. The batches are taken from a set as large as the real one, so that they come from memory
and not from a cache. No framework can train much faster with ordinary matrix products.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mnist_mlp.run.machine import usable_cores
from mnist_mlp.settings import resolve
from mnist_mlp.spec import Spec

_MOST_ROWS = 52_500  # 165 MB of float32; for more rows these are used again


def epoch_of_products(spec: Spec, *, rows: int) -> Callable[[], None]:
    """A function that computes the products of one epoch over `rows` training rows."""
    rng = np.random.default_rng(0)
    dtype = np.dtype(spec.training.precision)
    size = min(spec.training.batch_size, rows)
    held = min(rows, max(_MOST_ROWS, size))

    def matrix(n: int, m: int) -> np.ndarray:
        return rng.standard_normal((n, m), dtype=np.float32).astype(dtype, copy=False)

    images = matrix(held, spec.model.layer_sizes[0])
    kernels = [matrix(inputs, units) for inputs, units, _ in spec.model.layers]
    outputs = [matrix(size, units) for _, units, _ in spec.model.layers]
    inputs_gradients = [np.empty_like(output) for output in outputs[:-1]]
    gradients = [np.empty_like(kernel) for kernel in kernels]
    # The gradients of the outputs, in their shapes. Copies, since a step overwrites the outputs.
    flows = [output.copy() for output in outputs]

    def step(x: np.ndarray) -> None:
        n = len(x)
        below = x
        for kernel, output in zip(kernels, outputs, strict=True):
            np.matmul(below, kernel, out=output[:n])
            below = output[:n]
        for layer in reversed(range(len(kernels))):
            below = x if layer == 0 else outputs[layer - 1][:n]
            np.matmul(below.T, flows[layer][:n], out=gradients[layer])
            if layer:
                np.matmul(flows[layer][:n], kernels[layer].T, out=inputs_gradients[layer - 1][:n])

    def epoch() -> None:
        start = 0
        for first in range(0, rows, size):
            n = min(size, rows - first)
            if start + n > held:
                start = 0
            step(images[start : start + n])
            start += n

    return epoch


def flops(spec: Spec, *, rows: int) -> int:
    """Floating-point operations of those products; a multiplication and its addition count as 2."""
    total = 0
    for layer, (inputs, units, _) in enumerate(spec.model.layers):
        total += (2 if layer == 0 else 3) * 2 * inputs * units
    return total * rows


def main() -> None:
    """Time `--epochs` epochs for 1, 2, 4, ... threads up to the number of cores."""
    from threadpoolctl import threadpool_limits

    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("config", type=Path)
    options.add_argument("--rows", type=int, default=52_500, help="training rows")
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--timings", type=Path)
    chosen = options.parse_args()
    spec = resolve(config=chosen.config, environ={}).spec
    epoch = epoch_of_products(spec, rows=chosen.rows)
    cores = usable_cores()
    by_threads: dict[int, list[float]] = {}
    for threads in sorted({*(2**k for k in range(10) if 2**k <= cores), cores}):
        with threadpool_limits(limits=threads, user_api="blas"):
            epoch()  # warms up: the first run allocates memory and starts the threads
            by_threads[threads] = []
            for _ in range(chosen.epochs):
                start = time.perf_counter()
                epoch()
                by_threads[threads].append(time.perf_counter() - start)
    work = flops(spec, rows=chosen.rows)
    for threads, seconds in by_threads.items():
        best = min(seconds)
        print(f"{threads} threads: {best:.3f} s an epoch, {work / best / 1e9:.0f} GFLOP/s")
    if chosen.timings:
        values = min(by_threads.values(), key=np.median)
        content = {"epochs_s": values, "flops": work, "by_threads": by_threads}
        chosen.timings.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
