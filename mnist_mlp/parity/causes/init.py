"""Why initial weights are not the plan's, or not drawn as the specification has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mnist_mlp.parity.causes.initialisers import (
    ALPHA,
    BIASES,
    KERNELS,
    Shape,
    follows,
    is_narrower,
    named,
)
from mnist_mlp.parity.findings import FEW_VALUES, UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.plan import Plan
from mnist_mlp.reference import (
    Array,
    Tensors,
    is_kernel,
    kernel_name,
    layer_of,
    name_parts,
    tensor_name,
)

LIKE_UNIFORM = 1e-6
"""Level of the test for a uniform distribution."""


def native_breaks(
    draws: Sequence[Tensors], layers: Sequence[tuple[int, int, str]], *, side: Side
) -> list[Break]:
    """Compare a port's own initial weights with Glorot uniform kernels and zero biases.

    `draws` are the weights of many instances of the port.
    """
    breaks = []
    for part in ("kernel", "bias"):
        causes: dict[str, Cause] = {}
        where: dict[str, list[int]] = {}
        drawn: list[tuple[Array, Shape]] = []
        for layer, (inputs, units, _) in enumerate(layers):
            tensors = [draw[tensor_name(layer, part)] for draw in draws]
            values = np.concatenate([np.asarray(t, np.float64).ravel() for t in tensors])
            if follows(values, (KERNELS if part == "kernel" else BIASES)[0], (inputs, units)):
                continue
            if part == "kernel" and _is_orthogonal(draws, kernel_name(layer)):
                causes.setdefault("orthogonal", Cause("orthogonal", "orthogonal rows or columns"))
                where.setdefault("orthogonal", []).append(layer)
                continue
            drawn.append((values, (inputs, units)))
            cause = _named(drawn[-1:], part) or Cause(UNKNOWN, _described(values))
            causes.setdefault(cause.name, cause)
            where.setdefault(cause.name, []).append(layer)
        if UNKNOWN in causes:
            # Usually one initialiser draws all layers. If one layer has no name, the name found for
            # another layer is probably wrong too: a small layer fits several distributions. So does
            # a layer of 400 inputs: torch draws within 1/sqrt(400), which is also Keras's 0.05.
            cause = _named(drawn, part) or causes[UNKNOWN]
            causes = {cause.name: cause}
            where = {cause.name: sorted(number for numbers in where.values() for number in numbers)}
        breaks += [_native(side, part, layers, where[name], causes[name]) for name in causes]
    return breaks


def _named(drawn: Sequence[tuple[Array, Shape]], part: str) -> Cause | None:
    """The initialiser that drew all of some tensors, as a cause."""
    found = named(drawn, part)
    return Cause(_full_name(found.cause, part), found.text) if found else None


def pair_breaks(
    original: Sequence[Tensors],
    port: Sequence[Tensors],
    layers: Sequence[tuple[int, int, str]],
    *,
    side: Side,
) -> list[Break]:
    """Compare a port's own initial weights with those of its original, over many draws of both.

    A layer passes if both have the same distribution, or if both initialisers have the same name.
    The second is needed because Keras truncates the normal distributions and torch does not.
    """
    own = native_breaks(port, layers, side=side)
    theirs = native_breaks(original, layers, side="a")
    breaks: list[Break] = []
    for part in ("kernel", "bias"):
        layers_of = {
            number: (_name_at(theirs, part, number), _name_at(own, part, number))
            for number in range(len(layers))
            if not same_distribution(original, port, tensor_name(number, part))
        }
        differing = [n for n, (a, b) in layers_of.items() if a != b or a == UNKNOWN]
        if not differing:
            continue
        name = layers_of[differing[0]][1]
        same = [item for item in own if item.tensor == part and item.cause.name == name]
        found = same[0] if same else None
        expected = layers_of[differing[0]][0] or ("glorot_uniform" if part == "kernel" else "zero")
        cause = found.cause if found else Cause("left_out", f"{expected} of the original")
        got = found.got if found else "Glorot uniform" if part == "kernel" else "zero"
        breaks.append(
            Break(
                side=side,
                rung="init",
                place=Place(epoch=0, step=0, layer=differing[0], tensor=part),
                got=got,
                expected=f"{expected}, as in the original",
                cause=cause,
            )
        )
    return breaks


def _name_at(breaks: Sequence[Break], part: str, layer: int) -> str | None:
    """The initialiser of a tensor by its cause's name; None for the specification's own."""
    for item in breaks:
        if item.tensor == part and layer in item.layers:
            return item.cause.name
    return None


def same_distribution(a: Sequence[Tensors], b: Sequence[Tensors], name: str) -> bool:
    """A two-sample Kolmogorov-Smirnov test at level `ALPHA`, and of uniform values the range.

    Constants must be equal.
    """
    from scipy.stats import ks_2samp

    x, y = (np.concatenate([np.asarray(d[name], np.float64).ravel() for d in ds]) for ds in (a, b))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return bool(np.ptp(x) == np.ptp(y) and x[0] == y[0])
    if _is_orthogonal(a, name) is not _is_orthogonal(b, name):
        return False
    if _is_uniform(x) and _is_uniform(y):
        (narrow, n), (wide, _) = sorted(
            (float(np.abs(values).max()), len(values)) for values in (x, y)
        )
        if is_narrower(narrow / wide, n):
            return False
    return bool(ks_2samp(x, y, method="asymp").pvalue > ALPHA)


def _is_uniform(values: Array) -> bool:
    """Whether values look uniform around zero, and less like a normal distribution that is cut at
    two deviations, which has fewer of the largest values."""
    from scipy.stats import kstest, truncnorm, uniform

    widest = float(np.abs(values).max())
    if kstest(values, "uniform", (-widest, 2 * widest)).pvalue < LIKE_UNIFORM:
        return False
    even = uniform.logpdf(values, -widest, 2 * widest).sum()
    return bool(even > truncnorm.logpdf(values, -2, 2, scale=widest / 2).sum())


def _is_orthogonal(draws: Sequence[Tensors], name: str) -> bool:
    """Whether the rows or the columns of every drawn kernel are orthogonal and equally long.

    This needs its own test, since the elements alone look like draws from a normal distribution. A
    single row or column is orthogonal only if it has the same length in several draws.
    """
    if not is_kernel(name):
        return False
    lengths = []
    for draw in draws:
        kernel = np.asarray(draw[name], np.float64)
        kernel = kernel if kernel.shape[0] >= kernel.shape[1] else kernel.T
        gram = kernel.T @ kernel
        length = float(gram.trace()) / len(gram)
        if not length or np.abs(gram - length * np.eye(len(gram))).max() > 1e-4 * length:
            return False
        lengths.append(length)
    several = len(draws) > 1 or len(gram) > 1
    return several and float(np.ptp(lengths)) <= 1e-4 * max(lengths)


def _full_name(cause: str, part: str) -> str:
    """The catalogue's name. Constant kernels have their own, since constant biases may be right."""
    return f"kernel_{cause}" if part == "kernel" and cause in ("zeros", "ones") else cause


def _native(
    side: Side,
    part: str,
    layers: Sequence[tuple[int, int, str]],
    where: Sequence[int],
    cause: Cause,
) -> Break:
    every = len(where) == len(layers)
    details = "every layer" if every else "layers " + ", ".join(str(layer) for layer in where)
    return Break(
        side=side,
        rung="init",
        place=Place(epoch=0, step=0, layer=where[0], tensor=part),
        layers=tuple(where),
        got=f"{cause.value}; {details}",
        expected="Glorot uniform" if part == "kernel" else "zero",
        cause=cause,
    )


def _described(values: Array) -> str:
    return (
        f"from {values.min():.4g} to {values.max():.4g}, mean {values.mean():.3g}, "
        f"deviation {values.std():.4g}"
    )


def breaks(weights: Tensors, plan: Plan, *, side: Side) -> list[Break]:
    """Compare a run's initial weights with the plan's, bit for bit.

    Returns at most one break for the kernels and one for the biases.
    """
    planned = plan.initial_weights
    if weights.keys() != planned.keys() or any(
        weights[name].shape != planned[name].shape for name in planned
    ):
        got = ", ".join(f"{name} {w.shape}" for name, w in weights.items())
        cause = Cause("other_shapes")
        return [Break(side=side, rung="init", place=Place(epoch=0, step=0), got=got, cause=cause)]
    differing = [n for n in planned if not np.array_equal(weights[n], planned[n])]
    result = []
    for part in ("kernel", "bias"):
        names = [name for name in differing if name_parts(name)[1] == part]
        if names:
            result.append(_differing(side, part, names, weights, planned, plan))
    return result


def _differing(
    side: Side,
    part: str,
    names: Sequence[str],
    weights: Tensors,
    planned: Mapping[str, Array],
    plan: Plan,
) -> Break:
    first = names[0]
    layer = layer_of(first)
    got, expected = (np.asarray(t[first], np.float64) for t in (weights, planned))
    worst = np.unravel_index(int(np.abs(got - expected).argmax()), got.shape)
    return Break(
        side=side,
        rung="init",
        place=Place(epoch=0, step=0, layer=layer, tensor=part),
        got=f"{got[worst]:.9g} at {[int(i) for i in worst]}",
        expected=f"{expected[worst]:.9g}",
        cause=_cause(part, names, weights, planned, plan),
    )


def _cause(
    part: str, names: Sequence[str], weights: Tensors, planned: Mapping[str, Array], plan: Plan
) -> Cause:
    pairs = [
        (np.asarray(weights[n], np.float64), np.asarray(planned[n], np.float64)) for n in names
    ]
    changed = sum(int((got != expected).sum()) for got, expected in pairs)
    if changed <= FEW_VALUES:
        return Cause("altered_file", "a few values of initial_weights.safetensors")
    if part == "kernel":
        if all(g.shape[0] == g.shape[1] and np.array_equal(g, e.T) for g, e in pairs):
            return Cause("kernel_transposed")
        if all(np.array_equal(g, e.reshape(e.shape[::-1]).T) for g, e in pairs):
            return Cause("kernel_reshaped")
    values = np.concatenate([got.ravel() for got, _ in pairs])
    if changed < len(values) / 2:  # another draw would change all values
        return Cause(UNKNOWN, f"{changed} of {len(values)} values differ")
    layers = [plan.spec.model.layers[layer_of(name)] for name in names]
    shapes = [(inputs, units) for inputs, units, _ in layers]
    tensors = [got.ravel() for got, _ in pairs]
    cause = _named(list(zip(tensors, shapes, strict=True)), part)
    if cause is None:
        return Cause(UNKNOWN, _described(values))
    if cause.name == "glorot_uniform":
        return Cause("other_seed", "the right distribution, but other values")
    return cause
