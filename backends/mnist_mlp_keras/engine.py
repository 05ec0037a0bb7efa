"""Every call to TensorFlow: what Keras 3 leaves to its engine.

Another engine (JAX, torch) would need a file with the same names in it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_mlp.contract import Runtime


def versions() -> Mapping[str, str]:
    """Versions by distribution name."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def gpus() -> tuple[str, ...]:
    """Names of the GPUs TensorFlow can use through CUDA."""
    if not tf.test.is_built_with_cuda():  # a plugin may bring Apple's or AMD's
        return ()
    found = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in found]
    return tuple(str(detail.get("device_name", "GPU")) for detail in details)


def configure(runtime: Runtime) -> Mapping[str, Any]:
    """Pin threads and arithmetic; to be called before anything runs."""
    _keep_freed_memory()
    tf.config.threading.set_intra_op_parallelism_threads(runtime.threads)
    # Two at least: the generator that feeds the batches needs one while a step runs on another.
    tf.config.threading.set_inter_op_parallelism_threads(2)
    if runtime.accelerator == "gpu":
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, enable=True)
    else:
        tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    return {"tf32": False}


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt(3)


def _keep_freed_memory() -> None:
    """Have glibc reuse large blocks, where it would hand them to the kernel and ask for new ones.

    Every call of a compiled program takes a block for its intermediate values. With new ones each
    time, 39 of 280 calls measured took 1.7 times as long as the others; with old ones, none of 160.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def gradients(loss: Callable[[], Any], variables: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The value of `loss()` and its gradient for each Keras variable."""
    with tf.GradientTape() as tape:
        value = loss()
    return value, tape.gradient(value, [variable.value for variable in variables])


def one_element(element: Any) -> Any:
    """A data set of one element, for validation.

    Keras makes a new iterator of it for each epoch. Not a generator, and without autotuning, since
    to end the old one TensorFlow then waits for a thread that looks up every tenth of a second.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensors(element).with_options(options)


# --- Running a user's own model -------------------------------------------------------------------


class Sink:
    """Where a tensor's value of the last run is kept, whether it runs eagerly or in any graph.

    A variable, because a graph may be nested (a user's own `tf.function`, a branch), and tensors
    cannot be returned from there; made beforehand, because such a function may make none; float64,
    which holds every other type.
    """

    def __init__(self) -> None:
        self._nothing = tf.zeros([0], tf.float64)
        self._variable = tf.Variable(self._nothing, shape=tf.TensorShape(None), trainable=False)
        self._dtype: Any = np.float32

    def put(self, tensor: Any) -> None:
        """Keep a tensor: at once, or as a part of the graph that is being built."""
        tensor = tf.convert_to_tensor(tensor)
        self._dtype = np.float64 if tensor.dtype == tf.float64 else np.float32
        self._variable.assign(tf.cast(tf.stop_gradient(tensor), tf.float64))

    def clear(self) -> None:
        """Forget the value."""
        self._variable.assign(self._nothing)

    def read(self) -> Any:
        """The value as a NumPy array; types that NumPy does not have become float32. None where
        nothing was kept since the last `clear`."""
        value = self._variable.numpy()
        return value.astype(self._dtype) if value.size else None


@contextmanager
def watched_gradients(seen: Callable[[Any, Sequence[Any], Sequence[Any]], None]) -> Iterator[None]:
    """Call `seen(target, sources, gradients)` wherever a gradient is taken while this lasts."""
    original = tf.GradientTape.gradient

    def gradient(tape: Any, target: Any, sources: Any, *args: Any, **options: Any) -> Any:
        result = original(tape, target, sources, *args, **options)
        if tf.is_tensor(target):
            seen(target, keras.tree.flatten(sources), keras.tree.flatten(result))
        return result

    tf.GradientTape.gradient = gradient
    try:
        yield
    finally:
        tf.GradientTape.gradient = original


@contextmanager
def eager_functions() -> Iterator[None]:
    """Run what is decorated with `tf.function` as plain Python, and trace nothing."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(run_eagerly=True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(run_eagerly=before)


def planned_dataset(x: Any, y: Any, orders: Any, *, batch_size: int, weights: Any = None) -> Any:
    """Batches `(x[rows], y[rows])` of every epoch as one `tf.data.Dataset`.

    With `weights` (n,) a batch has `weights[rows]` as a third part. `orders` int64
    (epochs, rows) holds the positions of each epoch; the last batch of an epoch may be smaller.
    """
    rows = orders.shape[1]
    steps = -(-rows // batch_size)
    arrays = [tf.constant(array) for array in (x, y, weights) if array is not None]
    orders = tf.constant(orders)

    def batch(step: Any) -> tuple[Any, ...]:
        start = step % steps * batch_size
        positions = orders[step // steps, start : tf.minimum(start + batch_size, rows)]
        return tuple(tf.gather(array, positions) for array in arrays)

    return tf.data.Dataset.range(orders.shape[0] * steps).map(batch).prefetch(4)
