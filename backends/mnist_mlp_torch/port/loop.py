"""A training loop in plain torch, in a script that nobody edits.

The script runs until its first update, or for a few epochs where it makes its batches itself
(`slices`). By then it has shown its module, optimizer and `DataLoader`,
which are known by when they were made (the third module, the first loader), so that they are found
again in another run of the script. In such a run, the loop's own lines are judged (`loop_drive`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.recording import Recording
from mnist_mlp.ports.script import Catch, names_of, patched
from mnist_mlp.ports.unlabelled import seen_form
from mnist_mlp_torch.port.loop_made import Made, place_of
from mnist_mlp_torch.port.loop_modules import Called, Joint, chained, named
from mnist_mlp_torch.port.pair_inputs import keys_of_batch
from mnist_mlp_torch.port.slices import SliceWatch, same


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

    `further` are modules that are one network with the first, such as a decoder, and `names` those
    of all of them; the first may be `quiet`, run without gradients.
    `loader` is None where it makes its batches itself, or its targets out of what its loader gives,
    which is `paced` then. `kind` is the type of a batch, `keys` say what is where in one that is a
    dictionary, `epochs` how often its data are gone over, where that is known, and `before` how
    often its module is called before it trains. `accumulated` batches make one update. Of
    `unlabelled` batches, only the inputs are looked at (see `OwnData`).
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
    further: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    chained: bool = False
    quiet: bool = False
    unlabelled: str = ""

    def whole(self, modules: Sequence[Any]) -> Any:
        """Its module, or all of them as one, of the `modules` that its script has made."""
        first = modules[self.module]
        if not self.further:
            return first
        every = [first, *(modules[place] for place in self.further)]
        return Joint(self.names, every, chained=self.chained)


COPIES = "its module, loader or optimizer is a copy of another"

# --- Until the first update -----------------------------------------------------------------------


class LoopWatch:
    """Offers a loop when it makes its first update."""

    def __init__(self, catch: Catch, path: Path) -> None:
        self.catch, self.path = catch, path
        self.made = Made()
        self.depth = 0
        self.root: Any = None
        """The module that was called last, by which a training is known."""
        self.called = Called()
        self.parts: list[Any] = []
        """The calls of the modules that are trained as one, once they are known."""
        self.first: Any = None
        """The first of them, with whose call a step begins."""
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
        self.passed = 0
        """Batches of a pass that is over, since when no module was called."""
        self.paced: int | None = None
        """The loader of a loop that makes its batches out of what that gives."""
        self._within = False
        self.calls: Counter[tuple[int, bool]] = Counter()
        """How often each module was called before, by its identity; true is without gradients."""

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
            passed = 0
            for given in own(loader):
                passed += 1
                batch = _Read(given) if isinstance(given, Mapping) else given
                if self.own is None:
                    self.earlier.append(self._of_this_batch)
                    self.batch, self.slices.inputs = (loader, batch), []
                    self.called.forget()
                yield batch
            self.batch, self.passed = None, passed

        return iterate

    @property
    def _of_this_batch(self) -> tuple[int, int]:
        loud = [n for (_, quiet), n in self.called.counts.items() if not quiet]
        return max(loud, default=0), self.backward - sum(n for _, n in self.earlier)

    def _backward(self, own: Callable[..., None]) -> Callable[..., None]:
        def backward(*args: Any, **options: Any) -> None:
            # The observer of targets lets it come back here.
            within, self._within = self._within, True
            if not within and self.own is None:
                self.backward += 1
                self.called.behind(args[0])
            try:
                own(*args, **options)
            finally:
                self._within = within

        return backward

    def _enter(self, module: Any, args: Any) -> None:
        self.depth += 1
        if self.depth > 1:
            return
        inner = unwrapped(module)
        if self.own is not None:
            if inner is self.first and torch.is_grad_enabled() is not self.parts[0].quiet:
                self.slices.enter(args)
        elif any(True for _ in inner.parameters()):
            # The batches of one update begin with the same weights, but not statistics.
            self.passed = 0
            moved = bool(self.backward) or self._is_trained(inner)
            quiet = not torch.is_grad_enabled()
            call = self.called.enter(inner, args, quiet=quiet, moved=moved)
            self.calls[id(inner), quiet] += 1
            if self.called.begins_with(call):
                self.slices.enter(args)

    def _is_trained(self, module: Any) -> bool:
        """Whether an earlier training has moved its weights: a copy of each state would be slow."""
        moved = {id(p) for one in self.known for g in one.param_groups for p in g["params"]}
        return any(id(p) in moved for p in module.parameters())

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        self.depth = max(self.depth - 1, 0)
        if not self.depth and self.own is None:
            self.called.leave(unwrapped(module), output)

    def _step(self, optimizer: Any, args: Any, options: Any) -> None:
        if any(optimizer is known for known in self.known):
            self._forget()
            return
        self._take_parts(optimizer)
        if self.batch is not None and not (self._unlabelled or self._from_loader()):
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

    def _take_parts(self, optimizer: Any) -> None:
        """The modules that make up the network, when its first update is about to be made."""
        if self.own is not None:
            return
        self.parts = self.called.parts(optimizer) or self.parts
        if not self.parts:
            return
        first = self.parts[0]
        self.first, self.root = first.module, self.parts[-1].module
        self.before = self.calls[id(self.first), first.quiet] - 1
        if not self.called.begins_with(first):
            self.slices.inputs = []
            self.slices.enter(first.inputs)

    def _forget(self) -> None:
        self.backward, self.slices.inputs, self.earlier = 0, [], []
        self.called.forget()

    @property
    def _accumulated(self) -> int | None:
        """How many batches of its loader made the update, each by one call of the module and one of
        backward; None if that is not what it did."""
        batches = [(n, m) for n, m in (*self.earlier, self._of_this_batch) if m]
        return len(batches) if self.batch and set(batches) == {(1, 1)} else None

    @property
    def _unlabelled(self) -> str:
        """How its loader gives batches without targets, if it does (`seen_form`)."""
        if self.batch is None or not self.slices.inputs:
            return ""
        batch, given = self.batch[1], self.slices.inputs[-1]
        return seen_form(batch, given, self.slices.targets.seen, same, parts=tensors_in(batch))

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
        if self.own is None and self.passed > 1 and self.backward == 1:
            return {
                "refused": f"it makes one update of the last of {self.passed} batches: backward() "
                f"and step() stand behind the loop over its batches, and not in it"
            }
        if not self.parts:
            return {"refused": "it calls no module whose weights are behind its loss"}
        if accumulated is None:
            return {
                "refused": f"it calls backward {self.backward} times for its first update, and not "
                f"once for each of several batches of its loader"
            }
        owned = {id(p) for each in self.parts for p in each.module.parameters()}
        steps = [p for group in optimizer.param_groups for p in group["params"]]
        if any(id(p) not in owned and p.grad is not None for p in steps):
            return {"refused": "its optimizer updates weights outside of the module that was run"}
        places = [place_of(each.module, self.made.modules) for each in self.parts]
        known = [number for number in places if number is not None]
        place = place_of(optimizer, self.made.optimizers)
        if len(known) < len(places) or place is None:
            return {"refused": COPIES}
        names = named(self.parts, lambda module: names_of(module, self.path))
        loop = Loop(
            *(known[0], None, place, tuple),
            before=self.before,
            paced=self.paced,
            further=tuple(known[1:]),
            names=tuple(names),
            chained=chained(self.parts),
            quiet=self.parts[0].quiet,
        )
        start = self.called.start(self.parts, names)
        if self.batch is None:
            return {"module": start, "loop": loop}
        calls = max(map(self.called.times, self.parts))
        if calls != 1:
            return {"refused": f"its module is called {calls} times for one update"}
        loader, batch = self.batch
        keys = None
        if isinstance(batch, _Read):
            try:
                keys = keys_of_batch(batch, path=self.path, read=batch.read)
            except UserCodeError as error:
                return {"refused": str(error).removeprefix(f"{self.path}: ")}
        elif not self._unlabelled and (not isinstance(batch, tuple | list) or len(batch) < 2):
            given = type(batch).__name__
            return {"refused": f"its loader gives {given}, expected (x, y) or a dictionary"}
        number = place_of(loader, self.made.loaders)
        if number is None:
            return {"refused": COPIES}
        loop = replace(
            loop,
            loader=number,
            kind=dict if keys is not None else tuple if isinstance(batch, tuple) else list,
            unlabelled=self._unlabelled,
            epochs=self._epochs(loader),
            before=self.before - accumulated + 1,
            keys=keys,
            paced=None,
            accumulated=accumulated,
        )
        return {"module": start, "loader": (loader, None), "loop": loop}

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


def unwrapped(module: Any) -> Any:
    """The module within a compiled or parallel one."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, torch.nn.DataParallel):
            inner = module.module
        if inner is None:
            return module
        module = inner
