"""A user's own training loop in torch as one side of a pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader

from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.ports.inputs import each
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.pair import PairJob
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.script import patched
from mnist_mlp.reference import Array
from mnist_mlp_torch.port import free
from mnist_mlp_torch.port.load import Given, seed_everything
from mnist_mlp_torch.port.loop import refusal
from mnist_mlp_torch.port.loop_accumulation import RestProbe
from mnist_mlp_torch.port.loop_clipping import Clipping
from mnist_mlp_torch.port.loop_drive import Drive
from mnist_mlp_torch.port.loop_schedules import LONGEST, PROBED, Asked, LoopSchedule, parts_of
from mnist_mlp_torch.port.pair import TorchSide
from mnist_mlp_torch.port.pair_inputs import Fed
from mnist_mlp_torch.port.pair_observer import default_type
from mnist_mlp_torch.port.pair_run import PairRun
from mnist_mlp_torch.port.pair_schedules import rates

CHANGED_MEANWHILE = "modified by an inplace operation"
"""What torch says where weights were used, as for a penalty, before those of the judged step were
set: they are set when the loop calls its model."""


class LoopSide(TorchSide):
    """The loop of a user's script."""

    intervals: tuple[str, ...] | None = None
    """How often its loop asks each of its schedules, in the order in which they are made."""

    rest: tuple[str, tuple[float, ...]] | None = None
    """What becomes of the batches at an epoch's end that are too few for an update."""

    sizes: tuple[int, ...] = ()
    """Of the batches of one of its own epochs."""

    def brought(
        self,
        images: Array,
        labels: Array,
        *,
        targets: int | None = None,
        weighted: bool = False,
    ) -> PairBrought:
        """See `PairSide.brought`."""
        found = super().brought(images, labels, targets=targets, weighted=weighted)
        if found.own is not None and found.own.epochs:
            self.sizes = found.own.epochs[0].sizes
        return found

    def run_of(self, module: Any, job: PairJob) -> PairRun:
        """One run of the script, yet to be begun."""
        return _LoopRun(self, module, job)

    _rows: Any

    def remember(self, rows: PairRows, inputs: Sequence[Any]) -> None:
        """What the loop has called its module with, for rows that it was given."""
        self._rows, self._inputs = rows.as_one, inputs
        self._as_given = rows.by_batch and all(
            isinstance(x, Tensor) and np.array_equal(x.numpy(), rows.batch(ids))
            for x, ids in zip(inputs, rows.batches(), strict=False)
        )

    def train_freely(self, given: Given, run: WholeRun, on_epoch: free.OnEpoch) -> None:
        """Run the script once more; its loop goes on to its end."""
        assert given.script is not None
        assert given.loop is not None
        seed_everything(0)
        given.script.run(free.LoopTeller(given.loop, run, on_epoch).going_on)

    def module_input(self, rows: Any) -> Any:
        """As the loop does it, which may scale and reshape its batches.

        Raises
        ------
        UsageError
            The loop was not run on these rows.
        """
        known = isinstance(rows, np.ndarray) and np.array_equal(rows, self._rows)
        if not known or not all(isinstance(x, Tensor) for x in self._inputs):
            raise UsageError(f"{self.given.path}: what its loop makes of these rows is not known")
        if len({x.shape[1:] for x in self._inputs}) == 1:
            return torch.cat(list(self._inputs))
        if not self._as_given:
            raise UsageError(f"{self.given.path}: what its loop makes of these rows is not known")
        return self.tensor(rows)

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`: the loop's schedules, asked as often as the loop asks them."""
        with default_type(self.dtype):
            run = _LoopRates(self, self._module(seed=0), PairJob(self.rows, 1))
            run.at, run.interval = at, interval
            run.fit(one_batch=True)
        return run.found


@dataclass
class LoopTrainer:
    """What a loop has of a `Trainer`."""

    optimizers: list[Any]
    lr_scheduler_configs: tuple[Any, ...] = ()
    gradient_clip_val: float | None = None


class _LoopRun(PairRun):
    """One run of a script, up to the last judged step of its loop."""

    side: LoopSide

    by_hand = True

    schedulers: list[LoopSchedule]

    _still: Mapping[str, Tensor] = MappingProxyType({})
    """Running statistics right behind a step, in an experiment that keeps them."""

    @property
    def rest(self) -> tuple[str, tuple[float, ...]]:  # type: ignore[override]
        """What the loop does there, if its own epochs have such batches."""
        return self.side.rest or ("", ())

    @property
    def schedules(self) -> list[Any]:
        """Those that the loop asks once for each update, or once for each epoch."""
        return [each for each in self.schedulers if each.regular]

    @property
    def asked_by_own_code(self) -> list[Any]:
        """The others: nobody knows when they are asked later."""
        return [each for each in self.schedulers if not each.regular]

    def fit(self, *, one_batch: bool = False) -> None:
        """Run it.

        Raises
        ------
        UserCodeError
            The user's code raised.
        """
        rows, loop = self.job.rows, self.side.given.loop
        if loop is not None and loop.loader is None and not isinstance(rows.y, np.ndarray):
            reason = "it makes its batches itself, and the data have several targets"
            raise UsageError(refusal(self.side.given.path, reason))
        loader = DataLoader(Fed(rows, self.side.tensor), batch_sampler=rows.batches(self.parts))
        epoch = list(map(_as_a_loader_gives, loader))
        epochs = [epoch[: self.parts]] if one_batch else [epoch] * self.job.epochs
        if self._drive(epochs) < sum(map(len, epochs)):
            # Its own epochs are fewer: all batches in one.
            self.steps.clear()
            self._drive([[batch for each in epochs for batch in each]])
        if self.side.intervals is None:
            self.side.intervals = self._intervals(epoch[0])
            self._know_schedules()
        if self.parts > 1 and self.side.rest is None:
            self.side.rest = self._rest()

    def _intervals(self, batch: tuple[Any, ...]) -> tuple[str, ...]:
        """How often the loop asks each of its schedules."""
        loop, loader = self.side.given.loop, self.side.given.loader
        assert loop is not None
        if not self._made.schedulers:
            return ()
        sizes = [PROBED, PROBED]
        if loop.loader is None:  # its epochs are its own: the first, and the next one's first batch
            sizes = [len(loader[0]), 1] if isinstance(loader, tuple) else [1]
        if sum(sizes) > LONGEST:
            return ()
        probe = _LoopRun(self.side, self.module, self.job)
        steps = probe._drive([[batch] * size * self.parts for size in sizes])
        if steps < sum(sizes) * self.parts:  # it has one epoch
            probe, sizes = _LoopRun(self.side, self.module, self.job), [sum(sizes)]
            steps = probe._drive([[batch] * size * self.parts for size in sizes])
        made, asked = probe._made, probe._asked
        whole = steps == sum(sizes) * self.parts
        return tuple(asked.interval(each, sizes) if whole else "" for each in made.schedulers)

    def _rest(self) -> tuple[str, tuple[float, ...]]:
        """What the loop does with the last batches of its own epochs."""
        script, loop, sizes = self.side.given.script, self.side.given.loop, self.side.sizes
        assert script is not None
        assert loop is not None
        left = len(sizes) % self.parts
        if not sizes or not (left or len(set(sizes)) > 1) or len(sizes) > LONGEST:
            return "", ()
        # Rows that are all the same have the same mean loss, however many they are.
        rows = self.job.rows
        row = rows.part(slice(1))
        x, y = (each(lambda a: np.repeat(a, max(sizes), axis=0), v) for v in (row.x, row.y))
        last, few = len(sizes) - (left or self.parts), min(2, max(sizes))
        counts = [n if k < self.parts or k >= last else few for k, n in enumerate(sizes)]
        weights = None if rows.weights is None else np.ones(max(sizes))
        alike = replace(rows, x=x, y=y, weights=weights, padding=None)
        same = Fed(alike, self.side.tensor)
        loader = DataLoader(same, batch_sampler=[list(range(n)) for n in counts])
        batches = list(map(_as_a_loader_gives, loader))
        probe = RestProbe(loop, batches)
        seed_everything(0)
        script.run(probe.watching)
        return probe.found

    def _weights_moved(self) -> list[Any]:
        """The weights that the judged optimizers move."""
        groups = (group for each in self._optimizers for group in each.param_groups)
        return [w for group in groups for w in group["params"]]

    def _know_schedules(self) -> None:
        made, known = self._made.schedulers, self.side.intervals or ()
        within = parts_of(made)
        self.schedulers = [
            LoopSchedule(each, known[n] if n < len(known) else "")
            for n, each in enumerate(made)
            if id(each) not in within
        ]

    def _drive(self, epochs: Sequence[Sequence[tuple[Any, ...]]]) -> int:
        script, loop = self.side.given.script, self.side.given.loop
        assert script is not None
        assert loop is not None
        drive = Drive(
            loop,
            epochs,
            on_step=lambda module, optimizers: self._step(module, optimizers, drive),
            on_gradients=self._gradients,
            on_end=self._end,
        )
        hooks = (
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        )
        self._made, self._asked = drive.made, Asked()
        self._clips = Clipping(self._weights_moved)
        seed_everything(0)
        try:
            with self._asked.watching(), self._clips.watching(), self._keeping():
                script.run(drive.watching)
        except UserCodeError as error:
            if CHANGED_MEANWHILE not in str(error):
                raise
            raise UsageError(
                refusal(
                    self.side.given.path, "it uses the model's weights before it calls the model"
                )
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
            if self._open is not None:
                self._open.close()
        self._close()
        self._know_schedules()
        rows = self.job.rows
        self.side.remember(rows, drive.inputs[: len(rows.batches(self.parts))])
        return drive.steps

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """In an experiment, nothing clears gradients between a backward pass and its update."""

        def unless_due(own: Callable[..., None]) -> Callable[..., None]:
            def zero_grad(*args: Any, **options: Any) -> None:
                if self._taken is None or self._settings:
                    own(*args, **options)

            return zero_grad

        owners = torch.optim.Optimizer, torch.nn.Module
        kept = any(mend.field == "kept" for mend in self.job.loop_mends)
        with ExitStack() as stack:
            for owner in owners if kept else ():
                stack.enter_context(patched(owner, zero_grad=unless_due(owner.zero_grad)))
            yield

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        if any(optimizer is known for known in self._optimizers):
            note("step")
            if self.parts > 1:
                self._note_step()
            self._experiment.set_arguments(optimizer)

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        if any(optimizer is known for known in self._optimizers):
            self._asked.updates += 1
            self._clipping = self._clips.found
            self._after_update()

    def _step(self, module: Any, optimizers: list[Any], drive: Drive) -> None:
        if drive.steps == 1:
            self.module = module
            self._unfreeze(module)
            self._take_charge(module, LoopTrainer(optimizers))
        for mend in self.job.loop_mends if (drive.steps - 1) % self.parts == 0 else ():
            if mend.field == "training_mode":
                module.train()
            elif mend.field == "cleared":
                for parameter in module.parameters():
                    parameter.grad = None
        self._enter(None, module)
        if drive.targets is not None:
            assert self._open is not None
            self._open.enter_context(drive.targets)

    def _end(self) -> None:
        if self._open is None:
            return
        self._leave(None, self.module)
        self._open = None
        if any(mend.field == "still" for mend in self.job.loop_mends):
            self._still = {name: b.clone() for name, b in self.module.named_buffers()}

    def _close(self) -> None:
        """End a step when the next one begins: what the loop does between them belongs to it.

        In an experiment, it does not move running statistics there.
        """
        with torch.no_grad():
            for name, value in self._still.items():
                self.module.get_buffer(name).copy_(value)
        self._still = {}
        super()._close()


def _as_a_loader_gives(batch: Any) -> Any:
    """A batch as it is, but for a list of its parts, which is a tuple."""
    return tuple(batch) if isinstance(batch, list) else batch


class _LoopRates(_LoopRun):
    """A run that asks the loop's schedules how they go on, before its first step."""

    at: Sequence[int] = ()
    interval: str | None = None
    found: dict[str, Array]

    def _step(self, module: Any, optimizers: list[Any], drive: Drive) -> None:
        super()._step(module, optimizers, drive)
        if drive.steps > 1:
            return
        self._know_schedules()
        self.found = rates(optimizers[0], self.schedules, self.at, self.side.length, self.interval)
        drive.over()
