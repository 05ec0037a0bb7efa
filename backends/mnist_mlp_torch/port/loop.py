"""A training loop in plain torch, in a script that nobody edits.

The script runs until its first update, or for a few epochs where it makes its batches itself
(`slices`). By then it has shown its module, optimizer and `DataLoader`,
which are known by when they were made (the third module, the first loader), so that they are found
again in another run of the script. In such a run, the loop's own lines are judged: its loader gives
the batches that are asked for, weights are set when the module is called, gradients are taken after
`backward`, and the run ends after the last step.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.driving import Batch, Driving
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.recording import Recording
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp_torch.port.pair_inputs import keys_of_batch
from mnist_mlp_torch.port.slices import SliceWatch, Targets, same


def refusal(path: Path, reason: str) -> str:
    """Why a loop is not judged, and what to do."""
    return (
        f"{path}: its training loop cannot be judged: {reason}.\n"
        f"Name its parts instead, {path}:NAME, with NAME = {{'module': net, 'loss': loss, "
        f"'optimizer': optimizer, 'loader': loader}}"
    )


@dataclass(frozen=True)
class Loop:
    """What a script's loop is made of, by the order in which the script makes such things.

    `loader` is None where it makes its batches itself, or its targets out of what its loader gives,
    which is `paced` then. `kind` is the type of a batch, `keys` say what is where in one that is a
    dictionary, `epochs` how often its data are gone over, where that is known, and `before` how
    often its module is called before it trains. `accumulated` batches make one update.
    """

    module: int
    loader: int | None
    optimizer: int
    kind: type
    epochs: int | None = None
    before: int = 0
    keys: BatchKeys | None = None
    paced: int | None = None
    accumulated: int = 1


class Made:
    """What a script has made so far, in order."""

    def __init__(self) -> None:
        self.modules: list[Any] = []
        self.loaders: list[Any] = []
        self.optimizers: list[Any] = []
        self.schedulers: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is made, while this lasts."""
        kinds = (
            (torch.nn.Module, self.modules),
            (DataLoader, self.loaders),
            (torch.optim.Optimizer, self.optimizers),
            (LRScheduler, self.schedulers),
            (ReduceLROnPlateau, self.schedulers),
        )
        with ExitStack() as stack:
            for kind, into in kinds:
                stack.enter_context(patched(kind, __init__=_noting(kind.__init__, into)))
            yield


def _noting(own: Callable[..., None], into: list[Any]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **options: Any) -> None:
        if not any(self is known for known in into[-1:]):
            into.append(self)
        own(self, *args, **options)

    return init


def place_of(thing: Any, among: Sequence[Any]) -> int | None:
    """Where it stands, by identity."""
    return next((place for place, known in enumerate(among) if known is thing), None)


COPIES = "its module, loader or optimizer is a copy of another"

# --- Until the first update -----------------------------------------------------------------------


class LoopWatch:
    """Offers a loop when it makes its first update."""

    def __init__(self, catch: Catch, path: Path) -> None:
        self.catch, self.path = catch, path
        self.made = Made()
        self.depth = 0
        self.root: Any = None
        self.start: Any = None
        """A copy of the module as it was before the forward pass of that update."""
        self.batch: tuple[Any, Any] | None = None
        self.backward = 0
        """Calls of it before the first update."""
        self.earlier: list[tuple[int, int]] = []
        """Of each batch of that update before this one: calls of the module, and of backward."""
        self.known: list[Any] = []
        """Optimizers that have been seen at work."""
        self.slices = SliceWatch(self._recorded)
        self.own: Any = None
        """The optimizer of a loop that makes its batches itself."""
        self.before = 0
        self.paced: int | None = None
        """The loader of a loop that makes its batches out of what that gives."""
        self._within = False
        self.calls: Counter[int] = Counter()
        """How often each module was called before, by its identity."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts."""
        with ExitStack() as stack:
            stack.enter_context(self.made.watching())
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
                register_optimizer_step_pre_hook(self._step),
            ):
                stack.callback(handle.remove)
            stack.enter_context(patched(DataLoader, __iter__=self._iterating(DataLoader.__iter__)))
            stack.enter_context(patched(Tensor, backward=self._backward(Tensor.backward)))
            stack.enter_context(self.slices.targets)
            yield

    def _iterating(self, own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def iterate(loader: Any) -> Iterator[Any]:
            for given in own(loader):
                batch = _Read(given) if isinstance(given, Mapping) else given
                if self.own is None:
                    self.earlier.append(self._of_this_batch)
                    self.batch, self.slices.inputs = (loader, batch), []
                yield batch
            self.batch = None

        return iterate

    @property
    def _of_this_batch(self) -> tuple[int, int]:
        return len(self.slices.inputs), self.backward - sum(n for _, n in self.earlier)

    def _backward(self, own: Callable[..., None]) -> Callable[..., None]:
        def backward(*args: Any, **options: Any) -> None:
            # The observer of targets lets it come back here.
            within, self._within = self._within, True
            if not within and self.own is None:
                self.backward += 1
            try:
                own(*args, **options)
            finally:
                self._within = within

        return backward

    def _enter(self, module: Any, args: Any) -> None:
        self.depth += 1
        if self.depth > 1 or not torch.is_grad_enabled():
            return
        inner = unwrapped(module)
        if self.own is not None and inner is self.root:
            self.slices.enter(args)
        elif self.own is None and any(True for _ in inner.parameters()):
            # The batches of one update begin with the same weights, but not statistics.
            if inner is not self.root or not (self.backward or self._is_trained(inner)):
                self.root, self.start = inner, copy.deepcopy(inner)
            self.calls[id(inner)] += 1
            self.slices.enter(args)

    def _is_trained(self, module: Any) -> bool:
        """Whether an earlier training has moved its weights: a copy of each state would be slow."""
        moved = {id(p) for one in self.known for g in one.param_groups for p in g["params"]}
        return any(id(p) in moved for p in module.parameters())

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        self.depth = max(self.depth - 1, 0)

    def _step(self, optimizer: Any, args: Any, options: Any) -> None:
        if any(optimizer is known for known in self.known):
            self._forget()
            return
        self.before = self.calls[id(self.root)] - 1
        if self.batch is not None and not self._from_loader():
            self.paced = place_of(self.batch[0], self.made.loaders)
            self.batch = None
        meant = self.own is None and self.batch is None and self.catch.is_meant(self.root)
        if meant and "refused" not in self._found(optimizer):
            self.own = optimizer
            self.slices.inputs = self.slices.inputs[-1:]
            self.catch.on_left = self.slices.left
        if self.own is None:
            self.catch.offer(lambda: self._found(optimizer), self.root)
            self.known.append(optimizer)
            self._forget()
        elif self.own is optimizer:
            self.slices.step()

    def _forget(self) -> None:
        self.backward, self.slices.inputs, self.earlier = 0, [], []

    @property
    def _accumulated(self) -> int | None:
        """How many batches of its loader made the update, each by one call of the module and one of
        backward; None if that is not what it did."""
        batches = [(n, m) for n, m in (*self.earlier, self._of_this_batch) if m]
        return len(batches) if self.batch and set(batches) == {(1, 1)} else None

    def _from_loader(self) -> bool:
        """Whether the module was given as many rows as its loader has just given, and the loss
        the targets beside them, and not the inputs again, as an autoencoder's."""
        assert self.batch is not None
        parts, targets = tensors_in(self.batch[1]), self.slices.targets.seen
        last = self.slices.inputs[-1] if self.slices.inputs else torch.empty(0)
        if parts and len(last) and len(parts[0]) != len(last):
            return False
        again = targets is not None and [same(targets, part) for part in parts]
        return len(parts) != 1 and not (again and again[0] and not any(again[1:]))

    def _recorded(self, recording: Recording | None, reason: str) -> None:
        """The batches that a loop makes itself are known, or won't be."""
        found = self._found(self.own)
        if recording is None:
            found = {"refused": reason}
        else:
            loops = self.catch.loops if len(recording) == 1 else self.catch.loops[:-1]
            epochs = loops[-1] if loops else None
            found["loop"] = replace(found["loop"], epochs=epochs)
            found["loader"] = (recording, None)
        self.catch.offer(lambda: found)

    def _found(self, optimizer: Any) -> dict[str, Any]:
        """The loop, or in words why it cannot be judged."""
        if not self.backward or self.root is None:
            return {"refused": "its optimizer is given a closure, which runs the module itself"}
        accumulated = self._accumulated if self.backward > 1 else 1
        if accumulated is None:
            return {
                "refused": f"it calls backward {self.backward} times for its first update, and not "
                f"once for each of several batches of its loader"
            }
        owned = {id(p) for p in self.root.parameters()}
        steps = [p for group in optimizer.param_groups for p in group["params"]]
        if any(id(p) not in owned for p in steps):
            return {"refused": "its optimizer updates weights outside of the module that was run"}
        module = place_of(self.root, self.made.modules)
        place = place_of(optimizer, self.made.optimizers)
        if self.batch is None:
            if module is None or place is None:
                return {"refused": COPIES}
            loop = Loop(module, None, place, tuple, before=self.before, paced=self.paced)
            return {"module": self.start, "loop": loop}
        if len(self.slices.inputs) != 1:
            calls = len(self.slices.inputs)
            return {"refused": f"its module is called {calls} times for one update"}
        loader, batch = self.batch
        keys = None
        if isinstance(batch, _Read):
            try:
                keys = keys_of_batch(batch, path=self.path, read=batch.read)
            except UserCodeError as error:
                return {"refused": str(error).removeprefix(f"{self.path}: ")}
        elif not isinstance(batch, tuple | list) or len(batch) < 2:
            given = type(batch).__name__
            return {"refused": f"its loader gives {given}, expected (x, y) or a dictionary"}
        number = place_of(loader, self.made.loaders)
        if module is None or number is None or place is None:
            return {"refused": COPIES}
        kind = dict if keys is not None else tuple if isinstance(batch, tuple) else list
        loop = Loop(
            *(module, number, place, kind, self._epochs(loader)),
            before=self.before - accumulated + 1,
            keys=keys,
            accumulated=accumulated,
        )
        return {"module": self.start, "loader": (loader, None), "loop": loop}

    def _epochs(self, loader: Any) -> int | None:
        """How often the loop runs in which the loop over the batches stands.

        That is the innermost, and goes over the loader or over something without a length, such as
        `enumerate(loader)`. In another file it is not seen.
        """
        return self.catch.epochs_over(len(loader))


class _Read(dict[Any, Any]):
    """A batch that notes which of its entries are read."""

    def __init__(self, batch: Mapping[Any, Any]) -> None:
        super().__init__(batch)
        self.read: set[Any] = set()

    def __getitem__(self, key: Any) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)


def tensors_in(batch: Any) -> list[Tensor]:
    """What a batch has of tensors, in its order."""
    parts = batch.values() if isinstance(batch, Mapping) else batch
    parts = parts if isinstance(batch, Mapping | tuple | list) else [batch]
    return [part for part in parts if isinstance(part, Tensor)]


def _is_single(args: Sequence[Any]) -> bool:
    return len(args) == 1 and isinstance(args[0], Tensor)


def unwrapped(module: Any) -> Any:
    """The module within a compiled or parallel one."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, torch.nn.DataParallel):
            inner = module.module
        if inner is None:
            return module
        module = inner


# --- Judged steps ---------------------------------------------------------------------------------


class Drive(Driving):
    """One run of a script in which its loop gets other batches, and is stopped after the last.

    Parameters
    ----------
    epochs, on_end
        See `Driving`.
    on_step : callable
        Called with the module and the optimizers when a batch is put into the module, before that.
    on_gradients : callable
        Called after each `backward` and before each update.
    """

    def __init__(
        self,
        loop: Loop,
        epochs: Sequence[Sequence[Batch]],
        *,
        on_step: Callable[[Any, list[Any]], None],
        on_gradients: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(epochs, on_end)
        self.loop = loop
        self.on_step, self.on_gradients = on_step, on_gradients
        self.made = Made()
        self._own = [batch for epoch in epochs for batch in epoch] if loop.loader is None else []
        self._fresh = loop.loader is None
        self._epoch: Sequence[Batch] = ()
        self.keeps_length = False
        """Whether the loop is given epochs of as many batches as its own."""
        self._calls = 0
        self._within = False
        self.targets: Targets | None = None
        """Gives the losses the targets of a step, where the loop makes its batches itself."""

    @contextmanager
    def watching(self, catch: Catch) -> Iterator[None]:
        """While this lasts; the script's `catch` is for its end."""
        self.begin(catch)
        with ExitStack() as stack:
            stack.enter_context(self.made.watching())
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_optimizer_step_pre_hook(lambda *_: self.on_gradients()),
            ):
                stack.callback(handle.remove)
            stack.enter_context(patched(DataLoader, __iter__=self._iterating(DataLoader.__iter__)))
            stack.enter_context(patched(Tensor, backward=self._backward(Tensor.backward)))
            if self.loop.accumulated > 1 and not self.keeps_length:
                length = {"__len__": self._length(DataLoader.__len__)}
                stack.enter_context(patched(DataLoader, **length))
            yield
            self.on_end()

    def _iterating(self, own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def iterate(loader: Any) -> Iterator[Any]:
            place = place_of(loader, self.made.loaders)
            if place is not None and place == self.loop.paced:
                return own(loader)
            if place == self.loop.loader:
                return self._batches()
            return islice(own(loader), 1)  # an evaluation, which moves no weight

        return iterate

    def _length(self, own: Callable[[Any], int]) -> Callable[[Any], int]:
        def length(loader: Any) -> int:
            # A loop that does something else at the last batch of an epoch asks for it among its
            # batches; what is made of it before, as a schedule, is meant for the user's own epochs.
            # Where these end with too few batches for an update, the end must not come here.
            mine = place_of(loader, self.made.loaders) == self.loop.loader
            if not self.steps or not mine:
                return own(loader)
            return len(self._epoch) + own(loader) % self.loop.accumulated

        return length

    def _batches(self) -> Iterator[Any]:
        """One epoch's: a loader begins anew as often as it is asked."""
        # If the loop stands in another file, whether there is another epoch after the first is seen
        # only when the script goes on to what comes after its training.
        self._epoch = self.rest_of_epoch(joined=not self.catch.loops)
        for batch in self._epoch:
            self._fresh = True
            yield self.loop.kind(batch)
            self.on_end()
            self.end_if_done()

    def _enter(self, module: Any, args: Any) -> Any:
        if not torch.is_grad_enabled():
            return None
        if place_of(module, self.made.modules[self.loop.module : self.loop.module + 1]) is None:
            return None
        self._calls += 1
        if not self._fresh or self._calls <= self.loop.before:
            return None
        if self._own:
            self.end_if_done()
        self._fresh = False
        self.steps += 1
        if not self._own:
            self.inputs.append(args[0].detach().clone() if _is_single(args) else None)
            self.on_step(module, self.made.optimizers[self.loop.optimizer :])
            return None
        self.on_end()
        x, y = self._own[self.steps - 1]
        self.targets = Targets(y)
        self.inputs.append(x)
        optimizers = self.made.optimizers[self.loop.optimizer :]
        self.on_step(module, optimizers)
        if self.steps == 1:
            for optimizer in optimizers:
                optimizer.step = self._stepping(optimizer.step)
        return (x,)

    def _stepping(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            result = own(*args, **options)
            self._updated()
            return result

        return step

    def _updated(self) -> None:
        """After an update; a loop that makes its batches itself begins a new step then.

        What it still does to its weights belongs to the step: the last one is over when the module
        is called again, or no loop of the script is left.
        """
        if not self._own or self._fresh or not self.steps:
            return
        self._fresh = True
        if not self.catch.loops:
            self.end_if_done()

    def _backward(self, own: Callable[..., None]) -> Callable[..., None]:
        def backward(*args: Any, **options: Any) -> None:
            # Where calls are observed, `own` comes back here once more for each observer.
            outer, self._within = not self._within, True
            if outer:
                note("backward")
            try:
                own(*args, **options)
            finally:
                if outer:
                    self._within = False
            if outer:
                self.on_gradients()

        return backward
