"""Imports point one way: backends -> contract, cli -> everything, nothing -> cli.

Read from the syntax tree. Imports inside functions count, and so do those for type checkers
(`if TYPE_CHECKING`): a module that needs another's types knows of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = "mnist_mlp"
PLUGINS = sorted(path.name for path in (ROOT / "backends").iterdir() if path.is_dir())

FRAMEWORKS = {"jax", "keras", "lightning", "tensorflow", "torch", "torchmetrics", "torchvision"}

OWN_PROCESS = {
    "mnist_mlp.data.fetch",  # a framework fetches MNIST
    "mnist_mlp.exchange.reload",  # an exported model is loaded with nothing of ours around it
}
"""Modules of the core that run in processes of their own, and may import frameworks there."""

FOR_BACKENDS = {
    "mnist_mlp.contract",  # what a backend is, and the types of all that crosses the border
    "mnist_mlp.reference",  # the written mathematics: names, scaling, what has to be computed
    "mnist_mlp.spec",  # the values that a model and an optimizer are built from
    "mnist_mlp.errors",  # so that a refusal reaches the user with its exit code
    "mnist_mlp.ports",  # the optional part of the contract: running a user's own model
    "mnist_mlp.nearest",  # "did you mean", in the same words everywhere
}
"""All of the core that a backend may import; a stranger's needs the first alone."""

NOT_FOR_AUTHORS = (
    *("bench", "cli", "evaluate", "parity", "registry", "report", "run", "settings", "training"),
    "worker",
)
"""What the author of a backend need not read: nothing that the contract rests on."""


def modules_of(folder: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules_of(ROOT / CORE)
BACKENDS = {name: modules_of(ROOT / "backends" / name) for name in PLUGINS}


def imports_of(source: str) -> set[str]:
    """Dotted names that a source imports: `from a import b` gives `a.b`, and `a` too if that is
    where `b` is defined."""
    return set(_imports(ast.parse(source)))


def _imports(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
            return
        case ast.ImportFrom(module=module, names=names, level=level):
            assert level == 0, "imports are absolute here"
            assert module is not None
            inner = {f"{module}.{alias.name}" for alias in names}
            yield from inner if inner <= MODULES.keys() else {module, *inner}
            return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def read(path: Path) -> set[str]:
    return imports_of(path.read_text(encoding="utf-8"))


def within(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(f"{package}.")}


def top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def calls_tf(source: str) -> bool:
    """Whether code, not text, has `tf.something` in it."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "tf"
        for node in ast.walk(ast.parse(source))
    )


def core_imports(module: str) -> set[str]:
    """The core's modules that one of them imports."""
    return (read(MODULES[module]) & MODULES.keys()) - {module}


# --- The rules ------------------------------------------------------------------------------------


def test_there_is_something_to_check() -> None:
    assert {"mnist_mlp.cli", "mnist_mlp.contract", "mnist_mlp.run.folder"} <= MODULES.keys()
    assert {"mnist_mlp_keras", "mnist_mlp_numpy", "mnist_mlp_torch"} <= set(PLUGINS)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - OWN_PROCESS))
def test_the_core_imports_no_framework_and_no_backend(module: str) -> None:
    assert not top(read(MODULES[module])) & (FRAMEWORKS | set(PLUGINS))


def test_what_runs_in_a_process_of_its_own_is_imported_by_nobody() -> None:
    assert MODULES.keys() >= OWN_PROCESS
    for module, path in MODULES.items():
        assert not read(path) & OWN_PROCESS, module


def test_nothing_but_the_command_line_imports_it() -> None:
    allowed = {"mnist_mlp.__main__", *within(set(MODULES), "mnist_mlp.cli")}
    for module, path in MODULES.items():
        if module not in allowed:
            assert not within(read(path), "mnist_mlp.cli"), module


def test_the_contract_rests_on_little() -> None:
    """With everything that its own imports import, and so on."""
    reached, ahead = set(), {"mnist_mlp.contract"}
    while ahead:
        module = ahead.pop()
        reached.add(module)
        ahead |= core_imports(module) - reached
    assert "mnist_mlp.spec" in reached
    for part in NOT_FOR_AUTHORS:
        assert not within(reached, f"mnist_mlp.{part}")


def optional_calls(source: str) -> set[str]:
    """Methods of a backend that the worker's child does without: `self._optional("name", ...)`."""
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_optional"
        and isinstance(node.args[0], ast.Constant)
    }


def undocumented(calls: set[str], text: str) -> set[str]:
    """Those of which a page does not give the signature."""
    return {name for name in calls if not re.search(rf"`?\b{name}\(\s*self, ", text)}


def test_optional_methods_are_told_of_where_an_author_reads() -> None:
    """What the child calls if it is there has its signature in `contract.py` and in the page."""
    child = MODULES["mnist_mlp.worker.child"].read_text(encoding="utf-8")
    calls = optional_calls(child)
    assert calls == {"draw", "export", "open_port"}
    # Nothing else is looked up on a backend without the contract's word for it.
    assert re.findall(r"getattr\((?:self\.)?backend, (\w+)", child) == ["method", "method"]
    for page in (MODULES["mnist_mlp.contract"], ROOT / "docs" / "backends.md"):
        text = page.read_text(encoding="utf-8")
        assert not undocumented(calls, text), page
        assert undocumented({*calls, "tune"}, text) == {"tune"}


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, or none."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module not in done:
            for other in sorted(graph[module]):
                ring = visit(other, [*trail, module])
                if ring:
                    return ring
            done.add(module)
        return []

    return next((ring for module in sorted(graph) if (ring := visit(module, []))), [])


def test_no_ring_of_imports() -> None:
    assert not cycle_in({module: core_imports(module) for module in MODULES})


def room_of(module: str) -> str:
    """The room that a module is in: a folder or file of the core, within `parity/` one of that."""
    parts = module.split(".")
    return ".".join(parts[1:3]) if parts[1:2] == ["parity"] else parts[1] if parts[1:] else CORE


def rooms() -> dict[str, set[str]]:
    """For each room, the rooms that its modules import."""
    graph: dict[str, set[str]] = {room_of(module): set() for module in MODULES}
    for module in MODULES:
        graph[room_of(module)] |= {room_of(name) for name in core_imports(module)}
    return {room: others - {room, "parity"} for room, others in graph.items()}


def test_no_ring_of_rooms() -> None:
    assert not cycle_in(rooms())


STAIRS = (
    ("errors", "nearest", "shown", "memory"),
    ("streams", "leftovers", "readers"),
    ("spec", "registry", "data", "settings"),
    ("reference", "stopping"),
    ("plan", "evaluate"),
    ("contract",),
    ("ports", "run"),
    ("worker",),
    ("at_once", "training", "bench", "doctor", "estimator", "parity.findings"),
    ("logs", "exchange", "sweep", "parity.steps", "parity.outcome", "parity.cost"),
    ("parity.causes", "parity.matrix", "parity.not_exercised", "divergence"),
    ("parity.pair",),
    ("report",),
    ("parity.check", "parity.compare"),
    ("api",),
    ("testing", "cli", CORE),
    ("pytest_plugin",),
    ("__main__",),
)
"""The rooms, from what rests on nothing to what rests on everything."""


def climbing(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a room from its own stair or from a higher one."""
    height = {room: number for number, stair in enumerate(STAIRS) for room in stair}
    side_by_side = {("settings", "spec")}  # settings fill a specification
    return [
        f"{room} -> {other}"
        for room, others in graph.items()
        for other in others
        if height[other] >= height[room] and (room, other) not in side_by_side
    ]


def test_no_import_points_upwards() -> None:
    graph = rooms()
    assert graph.keys() - {"parity"} == {room for stair in STAIRS for room in stair}
    assert not climbing({room: others for room, others in graph.items() if room != "parity"})


def test_check_and_compare_know_nothing_of_each_other() -> None:
    """The stairs say so as well; this names the rule."""
    graph = rooms()
    assert "parity.compare" not in graph["parity.check"]
    assert "parity.check" not in graph["parity.compare"]


ONLY_ONE_HAS = {
    # Keras feeds and watches a model inside its own `fit`, and has constraints on weights, and
    # separable convolutions. Its layers, functions and losses are called in three ways; in torch,
    # all of them are functions, which `pair_layers` knows. TensorFlow has no default type.
    "mnist_mlp_keras": {
        "doubles",
        "pair_constraints",
        "pair_functions",
        "pair_output_losses",
        "pair_separable",
        "pair_work",
        "run",
    },
    "mnist_mlp_torch": {
        # Loops in Keras ask schedule objects, and clip by arguments of the optimizer.
        "loop_accumulation",
        # A model of Keras has all of its layers; loops in torch may call several modules.
        "loop_made",
        "loop_modules",
        "loop_clipping",
        "loop_schedules",
        "feed",
        "forward",
        "functions",
        "gradient",
        "layers",
        "pair_gates",
        "pair_inputs",
        "pair_noise",
        "listener",
        "plain",
        "products",
        "wrap",
    },
}


def test_hosts_of_users_models_use_the_same_names() -> None:
    names = {
        plugin: {
            module.rpartition(".")[2]
            for module in BACKENDS[plugin]
            if module.startswith(f"{plugin}.port.")
        }
        for plugin in ONLY_ONE_HAS
    }
    shared = {plugin: names[plugin] - alone for plugin, alone in ONLY_ONE_HAS.items()}
    assert shared["mnist_mlp_keras"] == shared["mnist_mlp_torch"] >= {"host", "load", "facts"}
    for plugin, alone in ONLY_ONE_HAS.items():
        assert alone <= names[plugin]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_backend_knows_the_contract_and_no_other_backend(plugin: str) -> None:
    for module, path in BACKENDS[plugin].items():
        names = read(path)
        for name in within(names, CORE) - {CORE}:
            assert any(within({name}, allowed) for allowed in FOR_BACKENDS), f"{module}: {name}"
        assert not top(names) & (set(PLUGINS) - {plugin}), module


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_backend_is_importable_without_its_framework(plugin: str) -> None:
    """Its package and its `backend.py` import the framework inside methods alone."""
    for module in (plugin, f"{plugin}.backend"):
        tree = ast.parse(BACKENDS[plugin][module].read_text(encoding="utf-8"))
        outer = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = set().union(*(_imports(node) for node in outer))
        assert not top(names) & FRAMEWORKS, module


def test_only_the_engine_names_tensorflow() -> None:
    """So that Keras can run on another engine: one file would have to be written anew."""
    users = {
        module
        for module, path in BACKENDS["mnist_mlp_keras"].items()
        if "tensorflow" in top(read(path)) or calls_tf(path.read_text(encoding="utf-8"))
    }
    assert users == {"mnist_mlp_keras.engine"}


@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_only_its_file_names_another_engine(engine: str) -> None:
    modules = BACKENDS["mnist_mlp_keras"]
    users = {module for module, path in modules.items() if engine in top(read(path))}
    assert users == {f"mnist_mlp_keras.engine_{engine}"}


def test_engines_have_the_same_functions() -> None:
    """Those that `engines` tells of; TensorFlow's file has those for users' models, too."""
    modules = BACKENDS["mnist_mlp_keras"]
    text = modules["mnist_mlp_keras.engines"].read_text(encoding="utf-8")
    told = set(
        re.findall(r"`(\w+)(?:\(\w*(?:, \w+)?\))?`", text.partition('"""')[2].partition('"""')[0])
    )
    told -= {"engines", "fast", "fit"}
    assert {"gradients", "JIT_COMPILE"} <= told
    fast = {"FAST", "generated", "validation"}
    for module, more in {"engine": fast, "engine_jax": fast, "engine_torch": set()}.items():
        tree = ast.parse(modules[f"mnist_mlp_keras.{module}"].read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assignments = (n for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign))
        defined |= {
            name.id
            for assignment in assignments
            for name in ast.walk(assignment)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        assert told | more <= defined, module


# --- The checker itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch.nn as nn", {"torch.nn"}),
        ("from mnist_mlp import cli", {"mnist_mlp.cli"}),
        ("from mnist_mlp.cli import main", {"mnist_mlp.cli", "mnist_mlp.cli.main"}),
        ("def f():\n    if x:\n        import keras", {"keras"}),
        ("try:\n    import jax\nexcept ImportError:\n    pass", {"jax"}),
        ("if TYPE_CHECKING:\n    import torch", {"torch"}),
        ("if typing.TYPE_CHECKING:\n    import torch\nelse:\n    import os", {"torch", "os"}),
        ('"""import torch"""', set()),
    ],
)
def test_imports_are_found(source: str, names: set[str]) -> None:
    assert imports_of(source) == names


def test_faults_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule, with one line planted in a copy of a file of ours."""

    def plant(modules: dict[str, Path], module: str, line: str) -> None:
        path = tmp_path / f"{module}.py"
        path.write_text(modules[module].read_text(encoding="utf-8") + f"\n{line}\n")
        monkeypatch.setitem(modules, module, path)

    plant(MODULES, "mnist_mlp.plan", "def f():\n    import torch")
    with pytest.raises(AssertionError):
        test_the_core_imports_no_framework_and_no_backend("mnist_mlp.plan")
    plant(MODULES, "mnist_mlp.errors", "from mnist_mlp.cli import main")
    with pytest.raises(AssertionError):
        test_nothing_but_the_command_line_imports_it()
    with pytest.raises(AssertionError):
        test_the_contract_rests_on_little()
    with pytest.raises(AssertionError):
        test_no_ring_of_imports()
    plant(MODULES, "mnist_mlp.parity.check.target", "import mnist_mlp.parity.compare.runs")
    with pytest.raises(AssertionError):
        test_check_and_compare_know_nothing_of_each_other()
    plant(MODULES, "mnist_mlp.run.files", "if TYPE_CHECKING:\n    import mnist_mlp.training")
    assert climbing({"run": rooms()["run"]}) == ["run -> training"]
    with pytest.raises(AssertionError):
        test_no_ring_of_rooms()
    monkeypatch.setitem(BACKENDS["mnist_mlp_torch"], "mnist_mlp_torch.port.other", Path())
    with pytest.raises(AssertionError):
        test_hosts_of_users_models_use_the_same_names()
    monkeypatch.delitem(BACKENDS["mnist_mlp_torch"], "mnist_mlp_torch.port.other")
    plant(MODULES, "mnist_mlp.data.load", "import mnist_mlp.data.fetch")
    with pytest.raises(AssertionError):
        test_what_runs_in_a_process_of_its_own_is_imported_by_nobody()
    plant(BACKENDS["mnist_mlp_torch"], "mnist_mlp_torch.fit", "from mnist_mlp.run import folder")
    with pytest.raises(AssertionError):
        test_a_backend_knows_the_contract_and_no_other_backend("mnist_mlp_torch")
    plant(BACKENDS["mnist_mlp_keras"], "mnist_mlp_keras.backend", "import tensorflow")
    with pytest.raises(AssertionError):
        test_only_the_engine_names_tensorflow()
    plant(BACKENDS["mnist_mlp_keras"], "mnist_mlp_keras.fit", "def f():\n    import jax")
    with pytest.raises(AssertionError):
        test_only_its_file_names_another_engine("jax")
    with pytest.raises(AssertionError):
        test_a_backend_is_importable_without_its_framework("mnist_mlp_keras")
