"""A user's own loaders: which rows they give, in which order."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from mnist_mlp.contract import Array
from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.batch_keys import BatchKeys, KeysError
from mnist_mlp.ports.inputs import Inputs, Part, each, is_nested, parts_of
from mnist_mlp.ports.padding import lengths_behind
from mnist_mlp.ports.protocol import OwnData, OwnPass
from mnist_mlp.ports.rows import RowTable, read_pass
from mnist_mlp.ports.unlabelled import form_of
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.lines import note_loader
from mnist_mlp_torch.port.load import Given, overrides, seed_everything
from mnist_mlp_torch.port.pair_inputs import apart_by_keys, inputs_of, keys_for, keys_of_batch
from mnist_mlp_torch.port.plain import Plain

EPOCHS = 3
SLOW_S = 6.0
"""A first epoch slower than this: two epochs have to do, and it is not tried whether validation
moves the order."""

SEED = 7

Loaders = tuple[Any, Any]
"""For training and for validation; either may be None."""


def own_data(
    given: Given, *, several: bool = False, targets: int | None = None, weighted: bool = False
) -> OwnData | None:
    """What the user's loaders or datamodule do over three epochs, and what they validate on.

    With `several`, they may give several inputs and targets: `((a, b), y)`, `(x, (y, z))`, a
    dictionary for a tuple, or all in one: `(a, b, y)`. How many of the last are `targets` is known
    of the other side, or told by what the module's `forward` takes. Where that is `weighted`, with
    one input and one target, `(x, y, weights)` has weights of single rows.

    The same again, with the same seed, but with validation after the first epoch, tells whether
    that moves the order.
    """
    with user_errors(given.path):
        make = loaders_of(given)
        if make is None:
            return None
        seed_everything(SEED)
        train, validation = make()
        note_loader(train, given.loader)
        table = RowTable(ragged=several)

        firsts: list[Inputs] = []
        form = Form(several=several, targets=targets, weighted=weighted)

        def read(loader: Iterable[Any], what: str) -> OwnPass:
            return read_pass(_noting(_triples(loader, given, what, form), firsts), table)

        if train is None and validation is None:
            return None
        epochs: list[OwnPass] = []
        first_targets: Inputs | None = None
        validated: OwnPass | None = None
        moved: bool | None = None
        slow = True
        if train is not None:
            generators = _generators(train)
            states = [generator.get_state() for generator in generators]
            start = time.perf_counter()
            epochs.append(read(train, "loader"))
            if not epochs[0].batches:
                raise UserCodeError(f"{given.path}: the loader gives no batch")
            first_targets = form.first if form.unlabelled else firsts[0]
            slow = time.perf_counter() - start > SLOW_S
            epochs += [read(train, "loader") for _ in range(1 if slow else EPOCHS - 1)]
        if validation is not None and not slow:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            seed_everything(SEED)
            again, validation = make()
            _pass_over(again)
            validated = read(validation, "validation loader")
            moved = not _same(read(again, "loader"), epochs[1])
        elif validation is not None:
            validated = read(validation, "validation loader")
    rows = table.rows()
    return OwnData(
        rows=rows,
        shape=table.shape,
        epochs=tuple(epochs),
        validation=validated if validated is not None and validated.batches else None,
        shuffle=False if _in_sequence(train) else None,
        total=_total(train),
        moved_by_validation=moved,
        first_targets=first_targets,
        parts=table.parts(form.parts),
        flat=form.flat,
        keys=form.keys,
        target_parts=() if first_targets is None else parts_of(first_targets),
        padding=table.padding,
        flat_order=form.flat_order,
        unlabelled=form.unlabelled,
    )


Triple = tuple[Inputs, Inputs, Array | None]


def _noting(batches: Iterable[Triple], targets: list[Inputs]) -> Iterator[Triple]:
    """Batches as they come; the targets of the very first one are kept."""
    for batch in batches:
        if not targets:
            targets.append(batch[1])
        yield batch


@dataclass
class Form:
    """How batches hold their inputs, several where that is allowed; known after the first one.

    Of a flat batch, the last `targets` parts are targets, if that is known.
    """

    several: bool
    targets: int | None = None
    weighted: bool = False
    parts: tuple[Part, ...] = ()
    flat: bool = False
    keys: BatchKeys | None = None
    flat_order: tuple[int, ...] = ()
    unlabelled: str = ""
    first: Array | None = None
    """The first inputs, where there are no targets."""
    begun: bool = False


def _triples(loader: Iterable[Any], given: Given, what: str, form: Form) -> Iterator[Triple]:
    for given_batch in loader:
        batch = given_batch
        if form.several and not form.begun:
            form.unlabelled = given.loop.unlabelled if given.loop is not None else form_of(batch)
        form.begun = True
        if form.unlabelled:  # a validation may have targets beside them
            x = _as_array(batch[0] if isinstance(batch, tuple | list) else batch)
            form.first = x if form.first is None else form.first
            yield x, np.zeros(len(x)), None
            continue
        if isinstance(batch, Mapping):
            batch = _by_keys(batch, given, form)
        weights = None
        if form.weighted and isinstance(batch, tuple | list) and len(batch) == 3:
            weights = _weights_in(batch)
            batch = batch if weights is None else batch[:2]
        many = isinstance(batch, tuple | list) and len(batch) > 2 and form.several
        if not many and (not isinstance(batch, tuple | list) or len(batch) != 2):
            raise UserCodeError(
                f"{given.path}: the {what} gives {type(batch).__name__}, expected (x, y) or a "
                f"dictionary"
            )
        inputs, rest = batch[0], batch[1]
        if many:
            if form.targets is None:
                form.targets = _targets_by_forward(given, len(batch))
            if not form.parts and form.targets == 1 and lengths_behind(list(map(_as_array, batch))):
                last = len(batch) - 1
                form.flat_order = (*range(last - 1), last, last - 1)
            batch = [batch[k] for k in form.flat_order or range(len(batch))]
            cut = max(len(batch) - form.targets, 1)
            inputs, rest = _one_or_several(batch[:cut]), _one_or_several(batch[cut:])
        if is_nested(rest):
            raise UserCodeError(
                f"{given.path}: the {what} gives targets in structures within each other, expected "
                f"one tuple or one dictionary of them"
            )
        x = each(_as_array, inputs)
        y = each(_as_array, rest) if form.several else _as_array(rest)
        if form.several and not form.parts:
            form.parts, form.flat = parts_of(x), many
        yield x, y, weights


def _weights_in(batch: Sequence[Any]) -> Array | None:
    """A third part that is one real number for each row."""
    third, rows = _as_array(batch[2]), len(batch[0]) if hasattr(batch[0], "__len__") else -1
    return third if third.dtype.kind == "f" and third.shape == (rows,) else None


def _targets_by_forward(given: Given, parts: int) -> int:
    """How many parts of a flat batch are left when a module has taken its inputs."""
    if given.loop is not None:  # to make its module is to run the script
        return 1
    module = given.fresh(seed=SEED)
    inputs = inputs_of(module.module if isinstance(module, Plain) else module)
    return 1 if inputs is None else max(parts - inputs, 1)


def _one_or_several(parts: Sequence[Any]) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0]


def _by_keys(batch: Mapping[str, Any], given: Given, form: Form) -> tuple[Any, Any]:
    if form.keys is None:
        form.keys = _keys(batch, given)
    if len(form.keys.inputs) > 1 and not form.several:
        raise UserCodeError(
            f"{given.path}: the loader gives {len(form.keys.inputs)} inputs "
            f"({', '.join(form.keys.inputs)}), and the network that it is judged by has one"
        )
    return apart_by_keys(batch, form.keys, path=given.path)


def _keys(batch: Mapping[str, Any], given: Given) -> BatchKeys:
    if given.loop is not None and given.loop.keys is not None:
        return given.loop.keys
    module = given.fresh(seed=SEED)
    if isinstance(module, Plain):
        try:
            return keys_for(module.module, batch)
        except KeysError as error:
            raise UserCodeError(f"{given.path}: {error}") from None
    return keys_of_batch(batch, path=given.path)


def loaders_of(given: Given) -> Callable[[], Loaders] | None:
    """A function that makes the loaders anew, as far as they can be made anew."""
    if given.datamodule is not None:

        def from_datamodule() -> Loaders:
            source = given.datamodule
            made = source() if callable(source) else copy.deepcopy(source)
            made.prepare_data()
            made.setup("fit")
            try:
                validation = made.val_dataloader()
            except Exception:  # Lightning's own raises where the user has none
                validation = None
            return _single(made.train_dataloader()), _single(validation)

        return from_datamodule

    if given.loader is not None:

        def from_loader() -> Loaders:
            source = given.loader
            made = source() if callable(source) else source
            if isinstance(made, tuple | list):
                return made[0], made[1] if len(made) > 1 else None
            return made, None

        return from_loader

    module = given.fresh(seed=SEED)
    kinds = ("train_dataloader", "val_dataloader")
    if not any(overrides(module, kind) for kind in kinds):
        return None

    def from_module() -> Loaders:
        made = given.fresh(seed=SEED)
        made.prepare_data()
        made.setup("fit")
        train, validation = (
            _single(getattr(made, kind)()) if overrides(made, kind) else None for kind in kinds
        )
        return train, validation

    return from_module


def _single(loaders: Any) -> Any:
    return loaders[0] if isinstance(loaders, tuple | list) and loaders else loaders


def batch_size_of(loader: Any) -> int | None:
    """As the loader says it."""
    for owner in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(owner, "batch_size", None)
        if isinstance(size, int):
            return size
    return None


def _in_sequence(loader: Any) -> bool:
    # Beside a batch sampler, which goes its own way, a loader has a sampler that it never asks.
    if getattr(loader, "batch_size", None) is None:
        return False
    return isinstance(getattr(loader, "sampler", None), SequentialSampler)


def _total(loader: Any) -> int | None:
    """Rows that the sampler draws, before a last, smaller batch is dropped."""
    if getattr(loader, "batch_size", None) is None:
        return None
    try:
        return len(loader.sampler)
    except (AttributeError, TypeError):  # no DataLoader, or an iterable data set
        return None


def _generators(loader: Any) -> list[torch.Generator]:
    """Private generators of a loader and its samplers, which seeding does not reach."""
    found = []
    for name in ("", "sampler", "batch_sampler"):
        owner = getattr(loader, name, None) if name else loader
        for holder in (owner, getattr(owner, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator) and generator not in found:
                found.append(generator)
    return found


def _as_array(part: Any) -> Array:
    return to_array(part) if isinstance(part, Tensor) else np.asarray(part)


def _pass_over(loader: Iterable[Any]) -> None:
    for _ in loader:
        pass


def _same(a: OwnPass, b: OwnPass) -> bool:
    return a.sizes == b.sizes and np.array_equal(a.ids, b.ids)
