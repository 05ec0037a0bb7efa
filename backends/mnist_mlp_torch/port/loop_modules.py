"""Several modules of a training loop that are one network, such as an encoder and its decoder."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mnist_mlp.errors import UsageError


class Joint(torch.nn.ModuleDict):
    """Modules that a loop calls one behind the other, by the names that its script has for them.

    `chained` is whether each is called with what the one before it gave, and nothing else.
    """

    def __init__(self, names: Sequence[str], modules: Sequence[Any], *, chained: bool) -> None:
        super().__init__(dict(zip(names, modules, strict=True)))
        self.chained = chained

    def forward(self, x: Tensor) -> Any:
        """All of them.

        Raises
        ------
        UsageError
            Only the loop knows what is done between them.
        """
        if not self.chained:
            raise UsageError(f"only the loop knows what is done between {' and '.join(self)}")
        given: Any = x
        for module in self.values():
            given = module(given)
        return given


@dataclass(eq=False)
class Call:
    """The first call of a module in an update; `quiet` if it takes no gradients."""

    module: Any
    inputs: tuple[Any, ...]
    quiet: bool
    gave: Any = None


@dataclass
class Called:
    """Modules with weights that have run since the last update or batch, and in none other."""

    calls: list[Call] = field(default_factory=list)
    counts: Counter[tuple[int, bool]] = field(default_factory=Counter)
    starts: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """By its identity, each module and a copy of it as it was before the update."""
    leaves: set[int] = field(default_factory=set)
    """Identities of the weights behind the loss."""

    def forget(self) -> None:
        """An update or a batch is over."""
        self.calls, self.leaves = [], set()
        self.counts.clear()

    def enter(self, module: Any, args: tuple[Any, ...], *, quiet: bool, moved: bool) -> Call:
        """A module is called.

        `moved` is whether its weights may be others already than before the update.
        """
        if not quiet and (id(module) not in self.starts or not moved):
            self.starts[id(module)] = module, copy.deepcopy(module)
        self.counts[id(module), quiet] += 1
        known = [each for each in self.calls if each.module is module]
        if known and (quiet or not known[0].quiet):
            return known[0]
        # With gradients, it is the call that counts; an evaluation before it is none of the update.
        self.calls = [
            *(each for each in self.calls if each not in known),
            Call(module, args, quiet),
        ]
        return self.calls[-1]

    def times(self, call: Call) -> int:
        """How often its module was called in this way."""
        return self.counts[id(call.module), call.quiet]

    def begins_with(self, call: Call) -> bool:
        """Whether it is the first that takes gradients."""
        return call is next((each for each in self.calls if not each.quiet), None)

    def leave(self, module: Any, output: Any) -> None:
        """What it gave."""
        for each in self.calls:
            if each.module is module and each.gave is None:
                each.gave = output

    def behind(self, loss: Any) -> None:
        """The backward pass begins."""
        if isinstance(loss, Tensor):
            self.leaves |= _leaves(loss)

    def parts(self, optimizer: Any) -> list[Call]:
        """Those that are trained, those whose weights are behind the loss, and those that give
        these what they take; in the order in which they ran."""
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        found: list[Call] = []
        for each in self.calls[::-1]:
            weights = {id(p) for p in each.module.parameters()}
            feeds = any(_of_one(each.gave, later.inputs) for later in found)
            if feeds or (not each.quiet and weights & (trained | self.leaves)):
                found.insert(0, each)
        return found

    def start(self, parts: Sequence[Call], names: Sequence[str]) -> Any:
        """A copy of the network as it was before the update."""
        found = [
            self.starts[id(each.module)][1]
            if id(each.module) in self.starts
            else copy.deepcopy(each.module)
            for each in parts
        ]
        return found[0] if len(found) == 1 else Joint(names, found, chained=chained(parts))


def chained(parts: Sequence[Call]) -> bool:
    """Whether each takes what the one before it gave, as it is."""
    return all(
        len(after.inputs) == 1 and after.inputs[0] is before.gave
        for before, after in pairwise(parts)
    )


def named(parts: Sequence[Call], names_of: Callable[[Any], Sequence[str]]) -> list[str]:
    """A name for each, and none twice."""
    found: list[str] = []
    for each in parts:
        name = next(iter(names_of(each.module)), "")
        usable = name.isidentifier() and not hasattr(torch.nn.ModuleDict, name)
        found.append(name if usable and name not in found else f"module_{len(found) + 1}")
    return found


def _tensors(thing: Any) -> list[Tensor]:
    if isinstance(thing, dict):
        thing = tuple(thing.values())
    if isinstance(thing, tuple | list):
        return [tensor for part in thing for tensor in _tensors(part)]
    return [thing] if isinstance(thing, Tensor) else []


def _of_one(gave: Any, inputs: Any) -> bool:
    """Whether some input is what was given, perhaps in another shape."""
    given = {each.untyped_storage().data_ptr() for each in _tensors(gave)}
    return any(each.untyped_storage().data_ptr() in given for each in _tensors(inputs))


def _leaves(loss: Tensor) -> set[int]:
    """The tensors that a backward pass from a loss gives gradients, by their identity."""
    found: set[int] = set()
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found.add(id(leaf))
        waiting += [before for before, _ in node.next_functions]
    return found
