"""All calls to TensorFlow: what Keras leaves to its engine (see `engines`), and what running a
user's own model needs of it."""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow import core as keras_core  # they have no public names
from keras.src.backend.tensorflow import image as keras_image
from keras.src.backend.tensorflow import linalg as keras_linalg
from keras.src.backend.tensorflow import math as keras_math
from keras.src.backend.tensorflow import nn as keras_nn
from keras.src.backend.tensorflow import numpy as keras_numpy
from tensorflow.python.eager import context
from tensorflow.python.ops import gen_random_ops, gen_stateless_random_ops_v2, math_ops

from mnist_mlp.contract import Array, Runtime
from mnist_mlp_keras.fast import FastSequential

ACTIVATIONS: Mapping[str, Any] = {}

JIT_COMPILE = False

FAST = FastSequential


def versions() -> Mapping[str, str]:
    """Versions by distribution name."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def gpus() -> tuple[str, ...]:
    """Names of the GPUs that TensorFlow can use through CUDA."""
    if not tf.test.is_built_with_cuda():  # a plugin may list other GPUs, Apple's or AMD's
        return ()
    found = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in found]
    return tuple(str(detail.get("device_name", "GPU")) for detail in details)


def configure(runtime: Runtime) -> Mapping[str, Any]:
    """Set threads, device and float32 arithmetic. Call this before anything runs."""
    _keep_freed_memory()
    tf.config.threading.set_intra_op_parallelism_threads(runtime.threads)
    # At least two: the generator of the batches needs one while a step runs on the other.
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
    """Let glibc reuse large memory blocks, instead of returning them to the kernel.

    Every call of a compiled program allocates a block for its intermediate values. With a new block
    each time, 39 of 280 measured calls took 1.7 times as long as the others. With reused blocks,
    none of 160 calls did.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def gradients(
    loss: Callable[[], tuple[Any, Any]], variables: Sequence[Any]
) -> tuple[Any, Any, list[Any]]:
    """Both results of `loss()`, and the gradient of the first for each Keras variable."""
    with tf.GradientTape() as tape:
        value, recorded = loss()
    return value, recorded, tape.gradient(value, [variable.value for variable in variables])


def batches(elements: Callable[[], Iterator[Any]]) -> Any:
    """A data set of the elements of a generator, of which the first axis may differ."""
    return generated(elements, any_size=1)


def validation(series: Any) -> dict[str, Any]:
    """What `Model.fit` is given to validate by one series: a data set of one element.

    Keras makes a new iterator of it for each epoch, and TensorFlow has to end the old one. With a
    generator, it would wait for a thread that checks only every tenth of a second.
    """
    return {"validation_data": _untuned(tf.data.Dataset.from_tensors(series))}


def generated(elements: Callable[[], Iterator[Any]], *, any_size: int = 0) -> Any:
    """A data set of the elements of a generator.

    Their arrays have the shapes of the first element's, of which the first `any_size` axes may
    differ.
    """
    signature = tf.nest.map_structure(
        lambda a: tf.TensorSpec((*(None,) * min(any_size, a.ndim), *a.shape[any_size:]), a.dtype),
        next(elements()),
    )
    return _untuned(tf.data.Dataset.from_generator(elements, output_signature=signature))


def _untuned(dataset: Any) -> Any:
    """Without autotuning. Its thread sleeps ever longer, up to seconds, and the end of an iterator
    waits for it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


# --- Running a user's own model -------------------------------------------------------------------


class Sink:
    """Stores the last value of a tensor, whether it is computed eagerly or in a graph.

    It is a variable, because tensors cannot be returned from nested graphs (a user's own
    `tf.function`, or a branch). It is created beforehand, because such functions must not create
    variables. It is float64, because that holds the values of all other types.
    """

    def __init__(self) -> None:
        self._nothing = tf.zeros([0], tf.float64)
        self._variable = tf.Variable(self._nothing, shape=tf.TensorShape(None), trainable=False)
        self._dtype: Any = np.float32

    def put(self, tensor: Any) -> None:
        """Store a tensor now, or add this to the graph that is being built."""
        tensor = tf.convert_to_tensor(tensor)
        self._dtype = np.float64 if tensor.dtype == tf.float64 else np.float32
        self._variable.assign(tf.cast(tf.stop_gradient(tensor), tf.float64))

    def clear(self) -> None:
        """Forget the value."""
        self._variable.assign(self._nothing)

    def read(self) -> Any:
        """The value as a NumPy array: float64 if the tensor was, else float32.

        None if nothing was stored since the last `clear`.
        """
        value = self._variable.numpy()
        return value.astype(self._dtype) if value.size else None


@contextmanager
def watched_gradients(
    seen: Callable[[Any, Sequence[Any], Sequence[Any]], Sequence[Any] | None],
) -> Iterator[None]:
    """Context in which every call of `GradientTape.gradient` also calls `seen`.

    The arguments of `seen` are target, sources and gradients. If it gives other gradients, the call
    gives those.
    """
    original = tf.GradientTape.gradient

    def gradient(tape: Any, target: Any, sources: Any, *args: Any, **options: Any) -> Any:
        result = original(tape, target, sources, *args, **options)
        if tf.is_tensor(target):
            others = seen(target, keras.tree.flatten(sources), keras.tree.flatten(result))
            if others is not None:
                return keras.tree.pack_sequence_as(result, list(others))
        return result

    tf.GradientTape.gradient = gradient
    try:
        yield
    finally:
        tf.GradientTape.gradient = original


@contextmanager
def gradients_going_on() -> Iterator[None]:
    """Context in which `stop_gradient`, of Keras or of TensorFlow, stops nothing."""
    own = tf.stop_gradient
    tf.stop_gradient = lambda tensor, name=None: tensor
    try:
        yield
    finally:
        tf.stop_gradient = own


@contextmanager
def watched_tapes(moved: Callable[[int], None]) -> Iterator[None]:
    """Context in which `moved` is called with 1 when a tape begins to record, and with -1 when it
    ends."""
    enter, leave = tf.GradientTape.__enter__, tf.GradientTape.__exit__

    def entered(tape: Any) -> Any:
        moved(1)
        return enter(tape)

    def left(tape: Any, *error: Any) -> Any:
        moved(-1)
        return leave(tape, *error)

    tf.GradientTape.__enter__, tf.GradientTape.__exit__ = entered, left
    try:
        yield
    finally:
        tf.GradientTape.__enter__, tf.GradientTape.__exit__ = enter, leave


@contextmanager
def iterated_datasets(
    instead: Callable[[Any, Callable[[Any], Any]], Any],
) -> Iterator[None]:
    """Context in which iterating a `tf.data.Dataset` gives `instead(dataset, own)`."""
    own = tf.data.Dataset.__iter__
    tf.data.Dataset.__iter__ = lambda dataset: instead(dataset, own)
    try:
        yield
    finally:
        tf.data.Dataset.__iter__ = own


def is_endless(dataset: Any) -> bool:
    """Whether a data set repeats itself without an end."""
    return bool(dataset.cardinality() == tf.data.INFINITE_CARDINALITY)


def as_the_run(element: Any) -> Any:
    """A batch of the user's own with its float32 tensors in float64, where the run is: what a model
    makes of it then has that type, and a loss by hand takes no two types."""
    if keras.config.floatx() != "float64":
        return element

    def wide(x: Any) -> Any:
        return tf.cast(x, tf.float64) if tf.is_tensor(x) and x.dtype == tf.float32 else x

    return keras.tree.map_structure(wide, element)


def modules_of_functions() -> tuple[Any, ...]:
    """Where a user's code finds the functions that are activations."""
    return keras.ops, keras.activations, tf.keras.activations, tf.nn, tf.math, tf


def modules_of_losses() -> tuple[Any, ...]:
    """Where a user's code finds the functions that are losses."""
    return keras.losses, tf.keras.losses


def graph_being_built() -> Any:
    """The graph that TensorFlow is tracing; each branch of a `tf.cond` has one of its own."""
    return tf.compat.v1.get_default_graph()


@contextmanager
def eager_functions(*, eagerly: bool = True) -> Iterator[None]:
    """Context in which functions decorated with `tf.function` run as plain Python, or do not."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(run_eagerly=eagerly)
    with warnings.catch_warnings():
        # Functions of data sets are still compiled, and TensorFlow warns of that.
        warnings.filterwarnings("ignore", message="Even though the `tf.config")
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(run_eagerly=before)


def is_sparse(gradient: Any) -> bool:
    """Whether a gradient holds some rows only, as an embedding's does."""
    return isinstance(gradient, tf.IndexedSlices)


def dense(gradient: Any) -> Any:
    """A gradient as one tensor; the entries of a row that is there several times are summed."""
    return tf.convert_to_tensor(gradient)


def forget_seed() -> None:
    """Undo `keras.utils.set_random_seed` as far as it has Keras repeat its shuffle."""
    tf.random.set_seed(None)


def interpolation(before: int, after: int, *, corners: bool = False) -> Array:
    """What each of `after` points takes of `before` points, float64 (after, before): linearly
    between the centres of the two next to it, or, with the `corners` aligned, as if the first and
    the last points were the same."""
    if corners:
        centres = np.linspace(0, before - 1, after)
    else:
        centres = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
    low = np.floor(centres).astype(int)
    high = np.minimum(low + 1, before - 1)
    shares, rows = np.zeros((after, before)), np.arange(after)
    np.add.at(shares, (rows, low), 1 - (centres - low))
    np.add.at(shares, (rows, high), centres - low)
    return shares


_MODULES_OF_OPERATIONS: tuple[Any, ...] = (
    *(keras_core, keras_image, keras_linalg, keras_math, keras_nn, keras_numpy),
)
"""Each knows the function that makes tensors by a name of its own."""


@contextmanager
def exact_scalars() -> Iterator[None]:
    """Context in which a Python number becomes a float64 constant as it is.

    Otherwise TensorFlow makes it float32 first: hyperparameters, the constants of GELU and the
    slope of a leaky ReLU would then be wrong by 1e-8 in a float64 run, and so would what Keras's
    own operations make of a number alone, as the logarithm of 2 in log-cosh. It also resizes
    images in float32, whatever it is given, and has no maximum over volumes in float64. A user's
    own cast to float32 is one to float64 in a float64 run.
    """
    original, leaky_relu, resize = tf.cast, tf.nn.leaky_relu, tf.image.resize
    max_pool = tf.nn.max_pool

    def pooled(x: Any, size: Any, strides: Any, padding: Any, data_format: Any = None) -> Any:
        if getattr(x, "dtype", None) != tf.float64 or len(x.shape) != 5 or data_format == "NCDHW":
            return max_pool(x, size, strides, padding, data_format)
        (depth, *flat), (along, *across) = (
            [n] * 3 if isinstance(n, int) else list(n)[-4:-1] if len(n) == 5 else list(n)
            for n in (size, strides)
        )
        # Of equal numbers, the first in the order of rows gets the gradient, as of a volume.
        slices = tf.reshape(x, (-1, *x.shape[2:]))
        slices = max_pool(slices, flat, across, padding)
        shape = (-1, x.shape[1], *slices.shape[1:])
        lines = tf.reshape(slices, (-1, x.shape[1], shape[2] * shape[3], shape[4]))
        lines = max_pool(lines, (depth, 1), (along, 1), padding)
        return tf.reshape(lines, (-1, lines.shape[1], *shape[2:]))

    def resized(images: Any, size: Any, method: Any = "bilinear", **options: Any) -> Any:
        exact = getattr(images, "dtype", None) == tf.float64 and len(images.shape) == 4
        if (
            not exact
            or method not in ("bilinear", tf.image.ResizeMethod.BILINEAR)
            or any(options.values())
        ):
            return resize(images, size, method, **options)
        height, width = (
            tf.constant(interpolation(int(n), int(m)))
            for n, m in zip(images.shape[1:3], size, strict=True)
        )
        return tf.einsum("bhwc,Hh,Ww->bHWc", images, height, width)

    def leaky(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
        del name
        return tf.where(features > 0, features, cast(alpha, features.dtype) * features)

    def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
        kind = tf.as_dtype(dtype)
        if kind == tf.float32 and keras.config.floatx() == "float64" and is_user(sys._getframe(1)):
            dtype = kind = tf.float64
        if isinstance(x, int | float) and not isinstance(x, bool) and kind == tf.float64:
            return tf.constant(x, kind)
        return original(x, dtype, name)

    owners = (tf, math_ops)
    for owner in owners:
        owner.cast = cast

    def tensor(x: Any, dtype: Any = None, **options: Any) -> Any:
        if dtype is None and isinstance(x, float) and keras.config.floatx() == "float64":
            dtype = "float64"
        return to_tensor(x, dtype, **options)

    to_tensor = keras_core.convert_to_tensor
    holders = [m for m in _MODULES_OF_OPERATIONS if m.convert_to_tensor is to_tensor]
    for holder in holders:
        holder.convert_to_tensor = tensor
    tf.nn.leaky_relu, tf.image.resize, tf.nn.max_pool = leaky, resized, pooled
    try:
        yield
    finally:
        for holder in holders:
            holder.convert_to_tensor = to_tensor
        tf.nn.leaky_relu, tf.image.resize, tf.nn.max_pool = leaky_relu, resize, max_pool
        for owner in owners:
            owner.cast = original


@contextmanager
def replaced_uniforms(replaced: Callable[[Any], Any]) -> Iterator[None]:
    """Context in which uniform random numbers, as dropout draws them, pass through a function."""
    original = gen_stateless_random_ops_v2.stateless_random_uniform_v2

    def drawn(*args: Any, **options: Any) -> Any:
        return replaced(original(*args, **options))

    gen_stateless_random_ops_v2.stateless_random_uniform_v2 = drawn
    try:
        yield
    finally:
        gen_stateless_random_ops_v2.stateless_random_uniform_v2 = original


@contextmanager
def replaced_normals(replaced: Callable[[Any], Any]) -> Iterator[None]:
    """Context in which normal random numbers, of mean 0 and deviation 1, pass through a function:
    those that Keras draws, and those of `tf.random.normal`."""
    owners = (
        (gen_stateless_random_ops_v2, "stateless_random_normal_v2"),
        (gen_random_ops, "random_standard_normal"),
    )
    with ExitStack() as stack:
        for owner, name in owners:
            original = getattr(owner, name)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, _passing(original, replaced))
        yield


def _passing(original: Callable[..., Any], replaced: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *args, **options: replaced(original(*args, **options))


def planned_dataset(x: Any, y: Any, orders: Any, *, batch_size: int, weights: Any = None) -> Any:
    """The batches `(x[rows], y[rows])` of all epochs as one `tf.data.Dataset`.

    `x` may be several arrays, in a tuple or a dictionary.
    With `weights` (n,), a batch has `weights[rows]` as a third part. `orders` int64 (epochs, rows)
    holds the positions of each epoch. The last batch of an epoch may be smaller.
    """
    rows = orders.shape[1]
    steps = -(-rows // batch_size)
    parts = tuple(part for part in (x, y, weights) if part is not None)
    arrays = keras.tree.map_structure(tf.constant, parts)
    orders = tf.constant(orders)

    def batch(step: Any) -> tuple[Any, ...]:
        start = step % steps * batch_size
        positions = orders[step // steps, start : tf.minimum(start + batch_size, rows)]
        gathered: tuple[Any, ...] = keras.tree.map_structure(
            lambda array: tf.gather(array, positions), arrays
        )
        return gathered

    return _untuned(tf.data.Dataset.range(orders.shape[0] * steps).map(batch).prefetch(4))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context in which what TensorFlow draws without a generator begins at a seed."""
    before = context.global_seed()
    tf.random.set_seed(seed)
    try:
        yield
    finally:
        tf.random.set_seed(before)


def seeding() -> Mapping[Any, tuple[str, ...]]:
    """Functions of TensorFlow, by module, that set a seed."""
    return {tf.random: ("set_seed",), tf.keras.utils: ("set_random_seed",)}


def is_user(frame: Any) -> bool:
    """Whether the code of a frame is none of the libraries'."""
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] not in ("keras", "tensorflow", "mnist_mlp_keras")


def makers() -> Mapping[Any, tuple[str, ...]]:
    """Functions of TensorFlow, by module, that make a tensor of the type `dtype`."""
    return {
        tf: ("constant", "convert_to_tensor", "eye", "one_hot", "ones", "zeros"),
        tf.random: ("normal", "truncated_normal", "uniform"),
        tf.image: ("convert_image_dtype",),
    }


def file_functions() -> Any:
    """`tf.io.gfile`, which writes by native code."""
    return tf.io.gfile
