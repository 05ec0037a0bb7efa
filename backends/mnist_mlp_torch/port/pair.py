"""A torch module as one side of a pair: real training steps in float64, every stage recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from mnist_mlp.contract import Runtime
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.clipping import if_other
from mnist_mlp.ports.inputs import Inputs, each
from mnist_mlp.ports.pair import (
    Mend,
    PairBrought,
    PairFacts,
    PairJob,
    PairLayer,
    PairRows,
    PairStep,
    RunLength,
    layer_and_role,
    tensor_name,
)
from mnist_mlp.ports.trials import DRAWS, distinct_draws, first_that_runs, mends_of_layers
from mnist_mlp.ports.update_rules import Settings
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.load import (
    Given,
    left_out,
    load,
    make_trainer,
    not_judged,
    overrides,
    own_callbacks,
    seed_everything,
)
from mnist_mlp_torch.port.loop import Drive
from mnist_mlp_torch.port.own_data import batch_size_of, own_data
from mnist_mlp_torch.port.pair_draws import Draws
from mnist_mlp_torch.port.pair_inputs import Fed, called
from mnist_mlp_torch.port.pair_layers import (
    LOSSES,
    WITH_WEIGHTS,
    Call,
    activation,
    call_of,
    from_canonical,
    settings_of,
    tensors_of,
    to_canonical,
)
from mnist_mlp_torch.port.pair_mends import followed, performed
from mnist_mlp_torch.port.pair_optimizers import Experiment, by_tensor, clipping_of
from mnist_mlp_torch.port.pair_recurrent import FUNCTIONS as RECURRENT_FUNCTIONS
from mnist_mlp_torch.port.pair_recurrent import Sequences, apart, first_of, pack
from mnist_mlp_torch.port.pair_schedules import (
    HARMLESS,
    SETTLED,
    described,
    early_stopping_of,
    plateau_of,
    rates,
)

DRAW_S = 1.0
"""Seconds for making models for their initial weights; a pair is an answer in seconds."""

TYPES = {"float32": torch.float32, "float64": torch.float64}


_WHOLE: dict[str, Any] = {
    "limit_train_batches": 1.0,
    "max_steps": -1,
    "overfit_batches": 0.0,
    "val_check_interval": 1.0,
}
"""Arguments of a trainer that would cut these short epochs short; they are judged with the data."""


class TorchSide:
    """The module of a user's file."""

    def __init__(self, given: Given, runtime: Runtime) -> None:
        self.target = given.target
        self.runtime = runtime
        self.given = given

    # --- Before anything is run -------------------------------------------------------------------

    def brought(self, images: Array, labels: Array) -> PairBrought:
        """See `PairSide.brought`."""
        del images, labels  # a loader takes nothing in torch
        given = self.given
        return PairBrought(
            own=own_data(given, several=True),
            batch_size=None if callable(given.loader) else batch_size_of(given.loader),
            epochs=given.loop.epochs if given.loop else given.trainer.get("max_epochs"),
            options={k: str(v) for k, v in given.trainer.items() if k != "callbacks"},
            left_out=_left_out(given),
            not_judged=not_judged(given),
        )

    def open(
        self, candidates: Sequence[PairRows], *, precision: str, length: RunLength
    ) -> PairFacts:
        """See `PairSide.open`."""
        self.length = length
        self.dtype = TYPES[precision]
        with default_type(self.dtype):
            self.given = load(self.target)
            return first_that_runs(candidates, self._looked)

    def run_of(self, module: Any, job: PairJob) -> _Run:
        """One run of a module, yet to be begun."""
        return _Run(self, module, job)

    def _looked(self, rows: PairRows, number: int) -> PairFacts:
        module = self._module(seed=0)
        self.rows = rows
        self.observer: Observer | None = None  # the layers are numbered by this step
        run = self.run_of(module, PairJob(rows, epochs=1))
        run.fit(one_batch=True)
        observer = run.observer
        self.observer = observer
        return PairFacts(
            framework="torch",
            layers=tuple(observer.layers),
            chosen=number,
            loss=observer.losses[-1] if observer.losses else None,
            unmapped=tuple(
                name
                for name, parameter in module.named_parameters()
                if name not in observer.named and parameter.requires_grad
            ),
            repeated=tuple(observer.repeated),
            schedules=tuple(map(described, run.schedules)),
            asks_length=run.asks_length,
            own_rates=bool(run.asked_by_own_code) or run.writes_rates,
            accumulated=run.accumulated,
            plateau=plateau_of(run.schedulers),
            trainer_given=bool(self.given.trainer),
            early_stopping=early_stopping_of(own_callbacks(self.given)),
            open_questions=tuple(_open_questions(run, own_callbacks(self.given))),
            loop=self.given.loop is not None,
        )

    def _module(self, *, seed: int) -> Any:
        with default_type(self.dtype):
            module = self.given.fresh(seed=seed)
        return module.double() if self.dtype is torch.float64 else module

    def draws(self) -> tuple[Tensors, ...]:
        """See `PairSide.draws`."""
        assert self.observer is not None
        if _is_lazy(self._module(seed=0)):
            return ()
        modules = (self._drawn(seed) for seed in range(DRAWS if self.given.repeatable else 1))
        return distinct_draws(map(self.observer.read, modules), seconds=DRAW_S)

    def _drawn(self, seed: int) -> Any:
        with default_type(self.dtype):
            return self.given.drawn(seed=seed)

    # --- Judged training --------------------------------------------------------------------------

    def fit(self, job: PairJob) -> tuple[PairStep, ...]:
        """See `PairSide.fit`."""
        with default_type(self.dtype):
            run = self.run_of(self._module(seed=0), job)
            run.fit()
        return tuple(run.steps)

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`."""
        with default_type(self.dtype):
            run = _Rates(self, self._module(seed=0), PairJob(self.rows, 1))
            run.at, run.interval = at, interval
            run.fit(one_batch=True)
        return run.found

    def predict(self, weights: Tensors, x: Inputs) -> tuple[Array, Array]:
        """See `PairSide.predict`."""
        assert self.observer is not None
        module = self._module(seed=0)
        if self.given.loop is None and not overrides(module, "forward"):
            raise UsageError(f"{self.given.path}: it has no forward, so nothing evaluates it")
        batch = self.module_input(x)
        if _is_lazy(module):
            called(module, each(lambda rows: rows[:2], batch))
        self.observer.write(module, weights)
        module.eval()
        observer = Observer(module, self.observer)
        watched = default_type(self.dtype), torch.no_grad(), observer.watching()
        with user_errors(self.given.path), watched[0], watched[1], watched[2]:
            result = called(module, batch)
        return observer.outputs[max(observer.inputs)], _copied(result)

    def module_input(self, rows: Any) -> Any:
        """What the module is called with for rows."""
        return each(self.tensor, rows)

    def tensor(self, rows: Array) -> Tensor:
        """Rows as a tensor of the run's type; whole numbers stay such."""
        made = torch.from_numpy(np.ascontiguousarray(rows))
        return made.to(self.dtype) if made.is_floating_point() else made


def _is_lazy(module: Any) -> bool:
    """Whether a module has weights that are made only when it is first called."""
    return any(isinstance(p, torch.nn.UninitializedParameter) for p in module.parameters())


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Let new tensors of real numbers have a type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Observer:
    """The layers of one step, in the order in which they ran.

    With the observer of an earlier step as `like`, layers have its numbers.
    """

    def __init__(
        self, module: Any, like: Observer | None = None, mends: Sequence[Mend] = ()
    ) -> None:
        self._module = module
        self.paths = {id(p): name for name, p in module.named_parameters()}
        self.paths |= {id(b): name for name, b in module.named_buffers()}
        self.named: dict[str, tuple[str, str]] = dict(like.named) if like else {}
        self.mends: Mapping[int, Sequence[Mend]] = mends_of_layers(mends)
        self.layers: list[PairLayer] = []
        self.losses: list[PairLayer] = []
        self.repeated: list[str] = []
        self.inputs: dict[int, Array] = {}
        self.outputs: dict[int, Array] = {}
        self.rough: list[str] = []
        self.loss: float | None = None
        """What the step's first backward pass began with."""
        self.sequences = Sequences()
        self.draws = Draws()
        self._made: dict[int, tuple[int, Any]] = {}
        """By its id, each result of a layer with weights, kept so that the id stays its own."""
        self._seen: set[str] = set()
        self._stack: list[str] = []
        self._modules = {id(m): path for path, m in module.named_modules()}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Observe what is called, while this lasts."""
        with ExitStack() as stack:
            for handle in (
                torch.nn.modules.module.register_module_forward_pre_hook(self._enter),
                torch.nn.modules.module.register_module_forward_hook(self._leave),
            ):
                stack.callback(handle.remove)
            stack.enter_context(_Calls(self))
            yield

    def _enter(self, module: Any, args: Any) -> None:
        self._stack.append(self._modules.get(id(module), ""))
        if args and isinstance(args[0], PackedSequence):
            self.sequences.unsorted = args[0].unsorted_indices

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        if self._stack:
            self._stack.pop()

    @property
    def here(self) -> int:
        """The number that the next layer gets."""
        return len(self.layers)

    def called(self, call: Call, own: Any) -> Any:
        """One call: done, perhaps otherwise, and noted."""
        tensors = {
            role: self.paths[id(tensor)]
            for role, tensor in tensors_of(call).items()
            if id(tensor) in self.paths
        } if call.kind in WITH_WEIGHTS else {}  # fmt: skip
        number = len(self.layers)
        again = bool(tensors) and not self._seen.isdisjoint(tensors.values())
        mends = [] if again else self.mends.get(number, [])
        call, own = self.sequences.reading(call, own, mends)
        data = _copied(call.input) if tensors else None
        self.draws.source = self._made.get(id(call.input), (None, None))[0]
        result = performed(call, own, mends, self.sequences) if mends else own()
        for mend in mends:
            if mend.field == "penalty":
                result = result + self._penalty(dict(mend.value))
        if again and call.name.endswith("_cell"):
            self._one_step_more(call, result, data, tensors["kernel"])
            return result
        if again:
            self.repeated.append(self._stack[-1] if self._stack else call.name)
            return result
        self._seen |= set(tensors.values())
        layer = PairLayer(
            number=number,
            name=self._name(call),
            kind=call.kind,
            settings=settings_of(call),
            shapes={
                role: to_canonical(call.kind, role, to_array(tensors_of(call)[role])).shape
                for role in tensors
            },
        )
        self.layers.append(layer)
        for role, path in tensors.items():
            self.named[path] = (tensor_name(number, role), call.kind)
        self.sequences.note(call, number, result)
        given = first_of(result)
        if tensors:
            self._made[id(given)] = number, given
            self.draws.source = number
        steps = (slice(None), None) if call.name.endswith("_cell") else ...
        if data is not None:
            self.inputs[number] = data[steps]
        if call.kind in LOSSES:
            self.losses.append(layer)
        if isinstance(given, Tensor):
            self.outputs[number] = _copied(given)[steps]
            if given.dtype not in (torch.get_default_dtype(), torch.int64):
                self.rough.append(f"{layer.name} ({str(given.dtype).removeprefix('torch.')})")
        return followed(call, result, mends)

    def _one_step_more(self, call: Call, result: Any, data: Array | None, path: str) -> None:
        """A recurrent cell in a loop: its steps together are one layer."""
        number, _ = layer_and_role(self.named[path][0])
        self.sequences.note(call, number, result)
        for kept, new in ((self.inputs, data), (self.outputs, _copied(first_of(result)))):
            if new is not None:
                kept[number] = np.concatenate([kept[number], new[:, None]], axis=1)

    def _penalty(self, factors: Mapping[int, float]) -> Any:
        """The sum of squares of some layers' kernels, by number, times a factor each."""
        kernels = {name: path for path, (name, _) in self.named.items()}
        return sum(
            factor
            * self._module.get_parameter(kernels[tensor_name(number, "kernel")]).square().sum()
            for number, factor in factors.items()
        )

    def _name(self, call: Call) -> str:
        path = self._stack[-1] if self._stack else ""
        name = call.label or call.name
        return f"{path}: {name}" if path else name

    # --- Weights ----------------------------------------------------------------------------------

    def train(self, module: Any, mend: Mend) -> None:
        """Let a layer's weights be trained, or one of them not."""
        for path, (name, _) in self.named.items():
            number, role = layer_and_role(name)
            if number == mend.layer and path in dict(module.named_parameters()):
                if mend.field == "trained" and role != "recurrent_bias":
                    module.get_parameter(path).requires_grad_(requires_grad=True)
                elif mend.value == role:
                    module.get_parameter(path).requires_grad_(requires_grad=False)

    def read(self, module: Any, *, gradients: bool = False) -> Tensors:
        """Weights and running statistics, or gradients, in canonical layout."""
        found: dict[str, Array] = {}
        for path, tensor in _tensors(module).items():
            if path not in self.named:
                continue
            name, kind = self.named[path]
            value = tensor.grad if gradients else tensor
            if value is not None:
                value = value.to_dense()  # an embedding's gradient may be sparse
                role = layer_and_role(name)[1]
                found[name] = to_canonical(kind, role, to_array(value)).copy()
        return found

    def write(self, module: Any, values: Tensors, *, gradients: bool = False) -> None:
        """Set them."""
        with torch.no_grad():
            for path, tensor in _tensors(module).items():
                name, kind = self.named.get(path, ("", ""))
                into = tensor.grad if gradients else tensor
                if name not in values or into is None:
                    continue
                value = from_canonical(kind, layer_and_role(name)[1], np.asarray(values[name]))
                made = torch.from_numpy(np.ascontiguousarray(value))
                if into.is_sparse:
                    tensor.grad = made.to(into.dtype).to_sparse(1)
                else:
                    into.copy_(made)


def _tensors(module: Any) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _copied(tensor: Tensor) -> Array:
    return np.array(to_array(tensor), np.float64)


class _Calls(TorchFunctionMode):
    """Shows calls of layers' work to an observer; what these call themselves is not shown."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self._observer = observer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if torch.get_default_dtype() is torch.float64:
            func, args, given = _kept_double(func, args, given)
        if func is Tensor.backward and self._observer.loss is None:
            self._observer.loss = float(args[0].detach())
        if func is torch._VF._pack_padded_sequence:
            return pack(self._observer.sequences, func, args, given)
        if func in RECURRENT_FUNCTIONS:
            return apart(self._observer, func, args, given)
        call = call_of(func, args, given)
        if call is None:
            return func(*args, **given)

        def own(**instead: Any) -> Any:
            if call.kind == "hard_sigmoid":
                return activation(call.kind, instead.get("input", call.input), {})
            if not instead:
                return func(*args, **given)
            return func(**{**call.arguments, **instead})

        return self._observer.called(call, own)


def _kept_double(
    func: Any, args: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Any, Sequence[Any], Mapping[str, Any]]:
    """A cast to float32, as `y.float()`, is one to float64 where the run is."""
    if func is Tensor.float:
        return Tensor.double, args, given
    single, double = torch.float32, torch.float64
    args = [double if a is single else a for a in args]
    return func, args, {k: double if v is single else v for k, v in given.items()}


class _Run:
    """One `Trainer.fit` of a module, with every step recorded."""

    def __init__(self, side: TorchSide, module: Any, job: PairJob) -> None:
        self.side, self.module, self.job = side, module, job
        self.steps: list[PairStep] = []
        self.schedulers: list[Any] = []
        self.asks_length = False
        self.observer = Observer(module)
        self._open: ExitStack | None = None
        self._closing: dict[str, Any] | None = None
        self._unfreeze(module)
        self._settings: dict[str, Settings] = {}
        self._applied: Tensors = {}
        self._optimizers: list[Any] = []

    def _unfreeze(self, module: Any) -> None:
        for mend in self.job.mends:
            if mend.field in ("trained", "frozen") and self.side.observer is not None:
                self.side.observer.train(module, mend)

    def fit(self, *, one_batch: bool = False) -> None:
        """Run it.

        Raises
        ------
        UserCodeError
            The user's code raised.
        """
        # In float32 the user's own precision stays: that is what tells 16-bit arithmetic.
        double = {"precision": "64-true"} if self.side.dtype is torch.float64 else {}
        trainer = make_trainer(
            self.side.given,
            self.module,
            self.side.runtime,
            epochs=self.job.epochs,
            first={
                "on_train_start": self._start,
                "on_train_batch_start": self._enter,
                "on_after_backward": lambda *_: self._gradients(),
            },
            last={
                "on_train_batch_end": self._leave,
                "on_train_epoch_end": self._stop,
                "on_train_end": lambda *_: self._close(),
            },
            one_batch=one_batch,
            without=SETTLED,
            **_WHOLE,
            **double,
            # A schedule may ask how long the run is. This one is stopped after the job's epochs.
            max_epochs=max(self.side.length.epochs, self.job.epochs),
        )
        self._pretend(trainer)
        rows = self.job.rows
        loader = DataLoader(Fed(rows, self.side.tensor), batch_size=rows.batch_size, shuffle=False)
        hooks = (
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(lambda *_: self._note_settings()),
        )
        try:
            with user_errors(self.side.given.path):
                trainer.fit(self.module, loader, loader)
        finally:
            for hook in hooks:
                hook.remove()
            if self._open is not None:
                self._open.close()

    def _pretend(self, trainer: Any) -> None:
        """Let a trainer say how many updates the run that is meant has."""
        length, each = self.side.length, trainer.accumulate_grad_batches

        def total(trainer: Any) -> int:
            self.asks_length = length.guessed
            return -(-length.steps // each) * int(trainer.max_epochs)

        own = {"estimated_stepping_batches": property(total)}
        trainer.__class__ = type("Trainer", (type(trainer),), own)

    def _stop(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch + 1 >= self.job.epochs:
            trainer.should_stop = True

    @property
    def schedules(self) -> list[Any]:
        """Those that Lightning asks, and not the user's own code."""
        return [] if self.by_hand else [c for c in self.schedulers if not c.reduce_on_plateau]

    @property
    def asked_by_own_code(self) -> list[Any]:
        """The others: nobody knows when they are asked, so that they are not run alone."""
        return self.schedulers if self.by_hand else []

    @property
    def by_hand(self) -> bool:
        """Whether the user's own code makes the updates."""
        return not self.module.automatic_optimization

    @property
    def writes_rates(self) -> bool:
        """Whether a script sets rates itself."""
        return self.side.given.loop is not None and "param_groups" in self.side.given.script_text

    def _start(self, trainer: Any, module: Any) -> None:
        self.accumulated, trainer.accumulate_grad_batches = trainer.accumulate_grad_batches, 1
        self.schedulers = list(trainer.lr_scheduler_configs)
        # What follows the loss is judged by its settings: two epochs would not show it.
        trainer.strategy.lr_scheduler_configs = [
            config for config in self.schedulers if not config.reduce_on_plateau
        ]
        self._take_charge(module, trainer)

    def _take_charge(self, module: Any, trainer: Any) -> None:
        """Begin an experiment on the optimizers of a trainer, or of what stands for one."""
        known = self.side.observer.named if self.side.observer is not None else {}
        self._names = {
            id(p): known[path][0] for path, p in module.named_parameters() if path in known
        }
        self._clipping = clipping_of(trainer)
        self._optimizers = list(trainer.optimizers)
        self._experiment = Experiment(self.job.optimizer_mends, self._names)
        self._experiment.start(trainer, self._by_rule)

    def _enter(self, trainer: Any, module: Any, *rest: Any) -> None:
        self._close()
        known = self.side.observer
        forced = self.job.forced_at(len(self.steps))
        if known is not None:
            known.write(module, forced.weights)
        self._experiment.step = len(self.steps)
        self._settings, self._applied = {}, {}
        self.observer = Observer(module, known, self.job.mends)
        self._draws = self.observer.draws = Draws(forced.draws)
        self._forced = forced
        self._taken: Tensors | None = None
        self._before = known.read(module) if known is not None else {}
        self._open = ExitStack()
        self._open.enter_context(self._draws)
        self._open.enter_context(self.observer.watching())

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Before an update; Lightning's own begins with the forward pass, in a closure."""
        self._experiment.set_arguments(optimizer)
        if self.by_hand:
            self._gradients()

    def _by_rule(self) -> None:
        """Before an update that an experiment makes, and after the optimizer's own."""
        known = self.side.observer
        if known is not None and "clip" in self._experiment.changes:  # the user's own is undone
            known.write(self.module, self._forced.gradients, gradients=True)

    def _note_settings(self) -> None:
        """Those of the step's first update, as they were in effect."""
        known = self.side.observer
        if known is None or self._settings:
            return
        self._settings = by_tensor(self._optimizers, self._names, self._clipping)
        left = {**(self._taken or {}), **self._forced.gradients}
        self._applied = if_other(known.read(self.module, gradients=True), left)

    def _gradients(self) -> None:
        """Record the gradients, and put the other side's in their place; once in a step."""
        if self._taken is not None or self._open is None:
            return
        self._open.close()
        known = self.side.observer or self.observer
        self._taken = known.read(self.module, gradients=True)
        known.write(self.module, self._forced.gradients, gradients=True)

    def _leave(self, trainer: Any, module: Any, *rest: Any) -> None:
        if self._open is not None:
            self._open.close()
        self._closing = {
            "before": self._before,
            "gradients": self._taken or {},
            "applied": self._applied,
            "optimizer": self._settings,
        }

    def _close(self) -> None:
        """End a step late: callbacks may change weights after it."""
        if self._closing is None:
            return
        known = self.side.observer or self.observer
        seen = self.observer
        self.steps.append(
            PairStep(
                inputs=seen.inputs,
                outputs=seen.outputs,
                loss=float("nan") if seen.loss is None else seen.loss,
                after=known.read(self.module),
                draws=tuple(self._draws.seen),
                rough=tuple(seen.rough),
                **self._closing,
            )
        )
        self._closing = None


class _Rates(_Run):
    """A run that asks its schedules how they go on, before its first step."""

    at: Sequence[int] = ()
    interval: str | None = None
    found: dict[str, Array]

    def _start(self, trainer: Any, module: Any) -> None:
        super()._start(trainer, module)
        optimizer = trainer.optimizers[0]
        self.found = rates(optimizer, self.schedules, self.at, self.side.length, self.interval)
        for config in self.schedulers:  # which may not be asked again, having come to their end
            config.interval, config.frequency = "epoch", 10**9


class LoopSide(TorchSide):
    """The loop of a user's script."""

    def run_of(self, module: Any, job: PairJob) -> _Run:
        """One run of the script, yet to be begun."""
        return _LoopRun(self, module, job)

    def remember(self, rows: Any, inputs: Sequence[Any]) -> None:
        """What the loop has called its module with, for rows that it was given."""
        self._rows, self._inputs = rows, inputs

    def module_input(self, rows: Any) -> Any:
        """As the loop does it, which may scale and reshape its batches.

        Raises
        ------
        UsageError
            The loop was not run on these rows.
        """
        if not np.array_equal(rows, self._rows) or not all(
            isinstance(x, Tensor) for x in self._inputs
        ):
            raise UsageError(f"{self.given.path}: what its loop makes of these rows is not known")
        return torch.cat(list(self._inputs))

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`: one rate, unless own code changes it (`PairFacts.own_rates`)."""
        with default_type(self.dtype):
            run = _LoopRun(self, self._module(seed=0), PairJob(self.rows, 1))
            run.fit(one_batch=True)
        return rates(run.optimizer, (), at, self.length, interval)


@dataclass
class LoopTrainer:
    """What a loop has of a `Trainer`."""

    optimizers: list[Any]
    lr_scheduler_configs: tuple[Any, ...] = ()
    gradient_clip_val: float | None = None


@dataclass(frozen=True)
class LoopSchedule:
    """A scheduler of a loop; what it is given, only the loop knows."""

    scheduler: Any
    monitor: str = ""

    @property
    def reduce_on_plateau(self) -> bool:
        """Whether it follows a loss."""
        return isinstance(self.scheduler, ReduceLROnPlateau)


class _LoopRun(_Run):
    """One run of a script, up to the last judged step of its loop."""

    side: LoopSide

    accumulated = 1

    by_hand = True

    @property
    def optimizer(self) -> Any:
        """The one that makes the judged updates."""
        return self._optimizers[0]

    def fit(self, *, one_batch: bool = False) -> None:
        """Run it.

        Raises
        ------
        UserCodeError
            The user's code raised.
        """
        rows = self.job.rows
        loader = DataLoader(Fed(rows, self.side.tensor), batch_size=rows.batch_size, shuffle=False)
        epoch = [tuple(batch) for batch in loader]
        epochs = [epoch[:1]] if one_batch else [epoch] * self.job.epochs
        if self._drive(epochs) < sum(map(len, epochs)):
            # Its own epochs are fewer: all batches in one.
            self.steps.clear()
            self._drive([[batch for each in epochs for batch in each]])

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
        seed_everything(0)
        try:
            script.run(drive.watching)
        finally:
            for hook in hooks:
                hook.remove()
            if self._open is not None:
                self._open.close()
        self.schedulers = list(map(LoopSchedule, drive.made.schedulers))
        self.side.remember(self.job.rows.x, drive.inputs[: self.job.rows.steps])
        return drive.steps

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        if any(optimizer is known for known in self._optimizers):
            self._experiment.set_arguments(optimizer)

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        if any(optimizer is known for known in self._optimizers):
            self._note_settings()

    def _step(self, module: Any, optimizers: list[Any], drive: Drive) -> None:
        if drive.steps == 1:
            self.module = module
            self._unfreeze(module)
            self._take_charge(module, LoopTrainer(optimizers))
        for mend in self.job.loop_mends:
            if mend.field == "training_mode":
                module.train()
            else:
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
        self._close()
        self._open = None


def _left_out(given: Given) -> tuple[str, ...]:
    rest = ("what the loop does after its first two epochs",) if given.loop is not None else ()
    return (*left_out(given), *rest)


def _open_questions(run: _Run, callbacks: Sequence[Any]) -> Iterator[str]:
    """What short epochs don't show: what happens at steps or losses far from the start."""
    for config in run.asked_by_own_code:
        yield f"the schedule {type(config.scheduler).__name__}, asked by own code"
    if run.asks_length:
        yield "the schedule, which asks how long the run is: data or epochs are not given"
    if run.writes_rates:
        yield "what the script writes into param_groups after the first steps"
    for callback in callbacks:
        names = [base.__name__ for base in type(callback).__mro__]
        if not any(word in name for name in names for word in (*HARMLESS, *SETTLED)):
            yield f"the callback {type(callback).__name__} after the first steps"
