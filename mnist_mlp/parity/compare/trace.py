"""Step records stored in a run folder, for comparisons without its backend.

`trace.npz` holds the records of the first windows of judged steps: the state before each step, and
every stage that the backend computed from it. Its keys are paths, such as
`steps/411/gradient/layers.0.kernel`; `docs/run-folder.md` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.contract import State, StepRecord, TrainingData
from mnist_mlp.errors import DivergedError, RunFolderError
from mnist_mlp.parity.compare.replay import judged_steps
from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps.sampling import place, windows
from mnist_mlp.parity.steps.shapes import finite_part
from mnist_mlp.parity.steps.stress import stress_batch
from mnist_mlp.parity.steps.trajectory import ReferenceRun, batch_of
from mnist_mlp.plan import Plan
from mnist_mlp.reference import Array, initial_slots
from mnist_mlp.run.checks import expected_shapes
from mnist_mlp.run.folder import Run
from mnist_mlp.run.writer import npz_bytes
from mnist_mlp.shown import one_line, shown
from mnist_mlp.worker.parent import Worker

FILE = "trace.npz"

STEPS = 9
"""Number of traced steps, about 2 MB each for the tutorial.

    Nine cover the first window and those around the end of the first epoch.
    """


def traced_windows(plan: Plan) -> list[range]:
    """The windows of a trace: the first ones that fit into `STEPS` steps, but at least one."""
    chosen: list[range] = []
    for window in windows(plan):
        if sum(len(w) for w in chosen) + len(window) > STEPS and chosen:
            continue
        chosen.append(window)
    return chosen


def trace_files(worker: Worker, plan: Plan, data: TrainingData) -> dict[str, bytes]:
    """Record a trace with an open backend; returns the content of its file, by name."""
    return {FILE: npz_bytes(record_trace(worker, plan, data))}


def record_trace(worker: Worker, plan: Plan, data: TrainingData) -> dict[str, Array]:
    """Let an open backend compute the traced steps; returns the arrays of `trace.npz`."""
    spans = traced_windows(plan)
    states = ReferenceRun(plan, data).states([s for span in spans for s in span])
    steps = judged_steps(
        worker, plan, data, windows=spans, states=states, stress=stress_batch(plan, data)
    )
    arrays: dict[str, Array] = {}
    for step in steps:
        path = f"steps/{step.step}"  # 0 is the stress batch
        arrays |= dict(_flat(f"{path}/shared", step.shared))
        arrays |= dict(_flat(f"{path}/state", step.record.state))
        arrays[f"{path}/inputs"] = step.record.inputs
        arrays[f"{path}/loss"] = np.asarray(step.record.loss)
        for kind in ("pre_activations", "activations"):
            for layer, array in enumerate(getattr(step.record, kind)):
                arrays[f"{path}/{kind}/{layer}"] = array
        for name, array in step.record.gradient.items():
            arrays[f"{path}/gradient/{name}"] = array
    return arrays


def _flat(path: str, state: State) -> Iterator[tuple[str, Array]]:
    yield f"{path}/step", np.asarray(state.step)
    for name, array in state.weights.items():
        yield f"{path}/weights/{name}", array
    for slot, tensors in state.slots.items():
        for name, array in tensors.items():
            yield f"{path}/slots/{slot}/{name}", array


def read_trace(run: Run, plan: Plan, data: TrainingData) -> list[JudgedStep]:
    """Read the judged steps of a traced run. Images and labels come from the plan.

    Raises
    ------
    RunFolderError
        The trace is missing, or does not fit the plan.
    DivergedError
        The trace holds NaN or infinity.
    """
    file = run.path / FILE
    arrays = run.arrays(FILE)
    _check_types(arrays, file=file)
    result = []
    number = {step: i for i, span in enumerate(windows(plan)) for step in span}
    stress = stress_batch(plan, data)
    try:
        for text, content in _tree(arrays)["steps"].items():
            step = int(text)
            epoch, _ = place(plan, step) if step else (0, 0)
            images, labels = batch_of(plan, data, step) if step else (stress.images, stress.labels)
            result.append(
                JudgedStep(
                    epoch=epoch,
                    step=step,
                    window=number[step] if step else len(number),
                    shared=_state(content["shared"]),
                    images=images,
                    labels=labels,
                    record=_record(content),
                    stress=step == 0,
                )
            )
    # A path of the file may lead through an array, or end at a folder.
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise RunFolderError(f"{file}: does not fit the plan: {one_line(repr(error))}") from None
    for judged in result:
        _check_state(judged, plan, file=file)
    _, strange = finite_part(result)
    if strange:
        raise DivergedError(f"{file}: {strange}")
    return result


def _check_types(arrays: Mapping[str, Array], *, file: Path) -> None:
    for path, array in arrays.items():
        kind = np.integer if path.endswith("/step") else np.floating
        if not np.issubdtype(array.dtype, kind):
            raise RunFolderError(f"{file}: {shown(path)} holds {array.dtype}, not {kind.__name__}")


def _check_state(judged: JudgedStep, plan: Plan, *, file: Path) -> None:
    """Refuse states whose tensors don't fit the specification. The judge looks at the rest."""
    expected = expected_shapes(plan.spec.model)
    if len(judged.record.pre_activations) > len(plan.spec.model.layers):
        raise RunFolderError(f"{file}: step {judged.step} has more layers than the specification")
    before, after = judged.shared, judged.record.state
    groups = [("weights", before.weights), *before.slots.items(), *after.slots.items()]
    for group, tensors in groups:
        if {name: array.shape for name, array in tensors.items()} != expected:
            raise RunFolderError(
                f"{file}: {shown(group)} of step {judged.step} have other names or shapes than "
                f"the specification"
            )
    if before.slots.keys() != initial_slots(plan.spec.optimizer, {}).keys():
        raise RunFolderError(f"{file}: step {judged.step} lacks the state of the optimizer")


def _tree(arrays: Mapping[str, Array]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *folders, last = path.split("/")
        here = tree
        for folder in folders:
            here = here.setdefault(folder, {})
        here[last] = array
    return tree


def _state(content: Mapping[str, Any]) -> State:
    return State(int(content["step"].item()), content["weights"], content.get("slots", {}))


def _record(content: Mapping[str, Any]) -> StepRecord:
    return StepRecord(
        inputs=content["inputs"],
        pre_activations=_sequence(content["pre_activations"]),
        activations=_sequence(content.get("activations", {})),
        loss=float(content["loss"].item()),
        gradient=content["gradient"],
        state=_state(content["state"]),
    )


def _sequence(content: Mapping[str, Array]) -> tuple[Array, ...]:
    keys: Sequence[int] = sorted(int(key) for key in content)
    return tuple(content[str(key)] for key in keys)
