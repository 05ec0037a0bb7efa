"""The layers of a torch module, watched while it takes a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from mnist_mlp.ports.pair import Mend, PairLayer, Passed, layer_and_role, own_weights, tensor_name
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.ports.trials import mends_of_layers
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.lines import of_call
from mnist_mlp_torch.port.pair_attention import attended, part_of, whole
from mnist_mlp_torch.port.pair_draws import Draws
from mnist_mlp_torch.port.pair_layers import (
    LOSSES,
    NOISE,
    WITH_WEIGHTS,
    Call,
    activation,
    call_of,
    from_canonical,
    settings_of,
    tensors_of,
    to_canonical,
)
from mnist_mlp_torch.port.pair_losses import Losses, class_weights_of
from mnist_mlp_torch.port.pair_mends import followed, performed, preceded
from mnist_mlp_torch.port.pair_noise import Pieces, noised
from mnist_mlp_torch.port.pair_noise import note as note_noise
from mnist_mlp_torch.port.pair_noise import settings_of as noise_settings
from mnist_mlp_torch.port.pair_passed import passed_of
from mnist_mlp_torch.port.pair_recurrent import FUNCTIONS as RECURRENT_FUNCTIONS
from mnist_mlp_torch.port.pair_recurrent import Sequences, apart, first_of, pack


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

    With the observer of an earlier step as `like`, layers have its numbers. `share` is that of a
    batch in an update, where several are accumulated.
    """

    def __init__(
        self,
        module: Any,
        like: Observer | None = None,
        mends: Sequence[Mend] = (),
        *,
        share: float = 1.0,
    ) -> None:
        self._module = module
        self.paths = {id(p): name for name, p in module.named_parameters()}
        self.paths |= {id(b): name for name, b in module.named_buffers()}
        self.kept: list[Any] = []
        """Parts of parameters that are alive, so that their ids stay their own."""
        self.named: dict[str, tuple[str, str]] = dict(like.named) if like else {}
        self.mends: Mapping[int, Sequence[Mend]] = mends_of_layers(mends)
        self.layers: list[PairLayer] = []
        self.losses = Losses(self.mends, share=share)
        self.repeated: list[str] = []
        self.later: dict[int, list[tuple[Array, Array]]] = {}
        """Inputs and outputs of the further calls of a layer that runs more than once."""
        self.unregistered: list[PairLayer] = []
        """Layers whose weights are parameters, but none of the module's."""
        self.inputs: dict[int, Array] = {}
        self.outputs: dict[int, Array] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        """Of each layer's result, without the batch."""
        self.result: Tensor | None = None
        """What the last module gave that was called by none; no number, as a loss's."""
        self.passed: list[Passed] = []
        self.rough: list[str] = []
        self.loss: float | None = None
        """What the step's first backward pass began with."""
        self.sequences = Sequences()
        self.draws = Draws()
        self.pieces = Pieces()
        self._made: dict[int, tuple[int, Any]] = {}
        """By its id, each result of a layer with weights, kept so that the id stays its own."""
        self._seen: set[str] = set()
        self._stack: list[str] = []
        self._running: list[Any] = []
        self._first = like is None  # what it sees is told; later steps need no lines
        self.attached = any(mend.field == "attached" for mend in mends)
        """Whether an experiment lets `detach` do nothing."""
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
        self._running.append(module)
        if args and isinstance(args[0], PackedSequence):
            self.sequences.unsorted = args[0].unsorted_indices

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        if self._stack:
            self._stack.pop()
            self._running.pop()
        if not self._stack and isinstance(output, Tensor) and output.dim():
            self.result = output.detach()

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
        call, own = preceded(call, own, mends)
        data = copied(call.input) if tensors else None
        self.draws.source = self._made.get(id(call.input), (None, None))[0]
        result = performed(call, own, mends, self.sequences) if mends else own()
        for mend in mends:
            if mend.field == "penalty":
                result = result + self._penalty(dict(mend.value))
        if again:
            self._once_more(call, result, data, next(iter(tensors.values())))
            return result
        self._seen |= set(tensors.values())
        layer = PairLayer(
            number=number,
            name=self._name(call),
            kind=call.kind,
            settings=noise_settings(call) if call.name in NOISE else settings_of(call),
            shapes=_shapes(call, tensors),
            line=of_call(self._running[-1] if self._running else None) if self._first else None,
        )
        self.layers.append(layer)
        if self._first and call.kind in WITH_WEIGHTS and not tensors:
            lost = [k for k, v in tensors_of(call).items() if isinstance(v, torch.nn.Parameter)]
            if lost:
                self.unregistered.append(replace(layer, shapes=_shapes(call, lost)))
        for role, path in tensors.items():
            self.named[path] = (tensor_name(number, role), call.kind)
        self.sequences.note(call, number, result)
        given = first_of(result)
        if tensors:
            self._made[id(given)] = number, given
            self.losses.made_by(given, number, mends)
            self.draws.source = number
        steps = (slice(None), None) if call.name.endswith("_cell") else ...
        if data is not None:
            self.inputs[number] = data[steps]
        if call.kind in LOSSES:
            self.losses.add(layer, call.input, call.arguments.get("target"), result)
            self.losses.class_weights = class_weights_of(call)
        if isinstance(given, Tensor):
            self.outputs[number] = copied(given)[steps]
            self.shapes[number] = tuple(given.shape[1:])
            if given.dtype not in (torch.get_default_dtype(), torch.float64, torch.int64):
                self.rough.append(f"{layer.name} ({str(given.dtype).removeprefix('torch.')})")
        return followed(call, result, mends)

    def passes(self, function: Any, args: Sequence[Any], result: Any) -> None:
        """Note what is shown between the layers."""
        path = self._stack[-1] if self._stack else ""
        if self._first and (
            found := passed_of(
                *(function, args, result), running=self._running, path=path, after=len(self.layers)
            )
        ):
            self.passed.append(found)

    def _once_more(self, call: Call, result: Any, data: Array | None, path: str) -> None:
        """A layer that has run before in this step."""
        if call.name.endswith("_cell"):
            self._one_step_more(call, result, data, path)
            return
        self.repeated.append(self._stack[-1] if self._stack else call.name)
        if call.kind not in RECURRENT and data is not None:
            first, _ = layer_and_role(self.named[path][0])
            self.later.setdefault(first, []).append((data, copied(first_of(result))))

    def _one_step_more(self, call: Call, result: Any, data: Array | None, path: str) -> None:
        """A recurrent cell in a loop: its steps together are one layer."""
        number, _ = layer_and_role(self.named[path][0])
        self.sequences.note(call, number, result)
        for kept, new in ((self.inputs, data), (self.outputs, copied(first_of(result)))):
            if new is not None:
                kept[number] = np.concatenate([kept[number], new[:, None]], axis=1)

    def _penalty(self, factors: Mapping[int, float]) -> Any:
        """The sum of squares of some layers' kernels, by number, times a factor each."""
        kernels = {name: path for path, (name, _) in self.named.items()}
        return sum(
            factor * part_of(path, self._module.get_parameter(whole(path))).square().sum()
            for number, factor in factors.items()
            if (path := kernels[tensor_name(number, "kernel")])
        )

    def _name(self, call: Call) -> str:
        path = self._stack[-1] if self._stack else ""
        name = call.label or call.name
        return f"{path}: {name}" if path else name

    # --- Weights ----------------------------------------------------------------------------------

    def take_own(self, module: Any) -> tuple[PairLayer, ...]:
        """Weights that no layer had, which are read and written from now on."""
        mapped = set(map(whole, self.named))
        rest = {
            name: tensor
            for name, tensor in _tensors(module).items()
            if name not in mapped and tensor.is_floating_point()
        }
        found = own_weights(
            *(
                [(name, tuple(x.shape)) for name, x in rest.items() if x.requires_grad is trained]
                for trained in (True, False)
            )
        )
        for layer in found:
            self.named[layer.name] = (tensor_name(layer.number, "weight"), layer.kind)
        return found

    def numbers_of(self, known: Observer) -> dict[int, int]:
        """The numbers here of those layers with weights of an earlier observer that have run."""
        return {
            layer_and_role(name)[0]: layer_and_role(self.named[path][0])[0]
            for path, (name, _) in known.named.items()
            if path in self._seen
        }

    def names(self, module: Any) -> dict[int, list[tuple[str, str]]]:
        """Names and paths of what each parameter holds, by its identity."""
        found: dict[int, list[tuple[str, str]]] = {}
        known = dict(module.named_parameters())
        for path, (name, _) in self.named.items():
            if whole(path) in known:
                found.setdefault(id(known[whole(path)]), []).append((name, path))
        return found

    def train(self, module: Any, mend: Mend) -> None:
        """Let a layer's weights be trained, or one of them not."""
        for path, (name, _) in self.named.items():
            number, role = layer_and_role(name)
            if number == mend.layer and whole(path) in dict(module.named_parameters()):
                if mend.field == "trained" and role != "recurrent_bias":
                    module.get_parameter(whole(path)).requires_grad_(requires_grad=True)
                elif mend.value == role:
                    module.get_parameter(whole(path)).requires_grad_(requires_grad=False)

    def read(self, module: Any, *, gradients: bool = False) -> Tensors:
        """Weights and running statistics, or gradients, in canonical layout."""
        found: dict[str, Array] = {}
        tensors = _tensors(module)
        for path, (name, kind) in self.named.items():
            tensor = tensors.get(whole(path))
            value = tensor.grad if gradients and tensor is not None else tensor
            if value is not None:
                value = part_of(path, value.to_dense())  # an embedding's gradient may be sparse
                role = layer_and_role(name)[1]
                found[name] = to_canonical(kind, role, to_array(value)).copy()
        return found

    def write(self, module: Any, values: Tensors, *, gradients: bool = False) -> None:
        """Set them."""
        with torch.no_grad():
            tensors = _tensors(module)
            for path, (name, kind) in self.named.items():
                tensor = tensors.get(whole(path))
                if name not in values or tensor is None:
                    continue
                into = tensor.grad if gradients else tensor
                if into is None:
                    continue
                value = from_canonical(kind, layer_and_role(name)[1], np.asarray(values[name]))
                made = torch.from_numpy(np.ascontiguousarray(value))
                if kind == "own_weight":
                    made = made.reshape(into.shape)
                if into.is_sparse:
                    tensor.grad = made.to(into.dtype).to_sparse(1)
                else:
                    part_of(path, into).copy_(made)


def _shapes(call: Call, roles: Iterable[str]) -> dict[str, tuple[int, ...]]:
    tensors = tensors_of(call)
    return {role: to_canonical(call.kind, role, to_array(tensors[role])).shape for role in roles}


ATTENTION = (F.multi_head_attention_forward, F.scaled_dot_product_attention)
"""Functions that are taken apart."""


def _tensors(module: Any) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def copied(tensor: Tensor) -> Array:
    """Its values, in float64, as they are now."""
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
        if func in (Tensor.detach, Tensor.detach_) and self._observer.attached:
            return args[0]
        if func is Tensor.backward and self._observer.loss is None:
            args = (self._observer.losses.with_more(args[0]), *args[1:])
            self._observer.loss = float(args[0].detach())
        if func is torch._VF._pack_padded_sequence:
            return pack(self._observer.sequences, func, args, given)
        if func in ATTENTION:
            return attended(self._observer, func, args, given)
        if func in RECURRENT_FUNCTIONS:
            return apart(self._observer, func, args, given)
        noise = noised(self._observer.pieces, func, args, given)
        if noise is not None:
            return self._observer.called(*noise)
        call = call_of(func, args, given)
        if call is None:
            result = func(*args, **given)
            self._observer.passes(func, args, result)
            note_noise(self._observer.pieces, func, args, given, result)
            return result

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
