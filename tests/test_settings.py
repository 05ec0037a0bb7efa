"""Where values come from: default < file < environment < --set < flag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnist_mlp.errors import EXIT_USAGE, UsageError
from mnist_mlp.settings import SHORT_NAMES, read_config, resolve
from mnist_mlp.spec import Spec, SpecError, leaf_keys


def write(folder: Path, text: str, *, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_given_is_the_tutorial() -> None:
    resolved = resolve(environ={})
    assert resolved.spec == Spec()
    assert set(resolved.origins) == set(leaf_keys())
    assert set(resolved.origins.values()) == {"default"}


def test_each_source_wins_over_the_ones_before(tmp_path: Path) -> None:
    """Five sources, each with one key more than the next one overrules."""
    config = write(
        tmp_path,
        "seed = 1\n[training]\nepochs = 1\nbatch_size = 1\n[optimizer]\nlearning_rate = 1\n",
    )
    environ = {
        "MNIST_MLP_SEED": "2",
        "MNIST_MLP_TRAINING_EPOCHS": "2",
        "MNIST_MLP_BATCH_SIZE": "2",
        "HOME": "/somewhere",
    }
    resolved = resolve(
        config=config,
        environ=environ,
        assignments=["seed=3", "training.epochs=3"],
        flags={"seed": 4, "training.epochs": None},
    )
    spec, origins = resolved.spec, resolved.origins
    assert (spec.seed, origins["seed"]) == (4, "--seed")
    assert spec.training.epochs == 3
    assert origins["training.epochs"] == "--set training.epochs=3"
    assert spec.training.batch_size == 2
    assert origins["training.batch_size"] == "environment MNIST_MLP_BATCH_SIZE"
    assert spec.optimizer.learning_rate == 1
    assert origins["optimizer.learning_rate"] == str(config)
    assert (spec.data.test_fraction, origins["data.test_fraction"]) == (0.25, "default")


def test_values_that_do_not_fit_together_name_their_sources(tmp_path: Path) -> None:
    """No single value is wrong, so all that stand in the section are named."""
    config = write(tmp_path, "[optimizer]\nschedule = [[9, 0.1], [3, 0.2]]\n")
    with pytest.raises(SpecError, match="schedule steps must increase") as caught:
        resolve(config=config, environ={})
    assert f"optimizer (from {config}):" in str(caught.value)
    with pytest.raises(SpecError, match="nesterov needs momentum") as caught:
        resolve(environ={}, assignments=["optimizer.nesterov=true"], flags={"learning_rate": 1.0})
    assert "optimizer (from --set optimizer.nesterov=true):" in str(caught.value)


def test_the_last_set_wins() -> None:
    resolved = resolve(environ={}, assignments=["seed=1", "epochs=5", "training.epochs=7"])
    assert resolved.spec.training.epochs == 7
    assert resolved.origins["training.epochs"] == "--set training.epochs=7"


def test_the_process_s_own_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_EPOCHS", "77")
    assert resolve().spec.training.epochs == 77
    assert resolve(environ={}).spec.training.epochs == 10


ENVIRONMENT: dict[str, tuple[str, str, Any]] = {
    "MNIST_MLP_NAME": ("name", "mine", "mine"),
    "MNIST_MLP_MODEL_LAYER_SIZES": ("model.layer_sizes", "[784, 9, 10]", (784, 9, 10)),
    "MNIST_MLP_OPTIMIZER_NESTEROV": ("optimizer.nesterov", "false", False),
    "MNIST_MLP_OPTIMIZER_LEARNING_RATE": ("optimizer.learning_rate", "1e-3", 1e-3),
    "MNIST_MLP_LEARNING_RATE": ("optimizer.learning_rate", "0.2", 0.2),
    "MNIST_MLP_DATASET": ("data.dataset", "digits", "digits"),
    "MNIST_MLP_DATA_ROWS": ("data.rows", '"all"', "all"),
    "MNIST_MLP_PRECISION": ("training.precision", "float64", "float64"),
}


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_an_environment_variable(variable: str) -> None:
    leaf, text, value = ENVIRONMENT[variable]
    resolved = resolve(environ={variable: text})
    content: Any = resolved.spec
    for part in leaf.split("."):
        content = getattr(content, part)
    assert content == value
    assert resolved.origins[leaf] == f"environment {variable}"


def test_every_key_has_a_variable_and_every_option_a_short_one() -> None:
    full = {"MNIST_MLP_" + leaf.replace(".", "_").upper() for leaf in leaf_keys()}
    short = {"MNIST_MLP_" + name.upper() for name in SHORT_NAMES}
    for variable in full | short:
        # No key takes this value, so each of them has to be looked at and refused by name.
        with pytest.raises(SpecError, match=variable):
            resolve(environ={variable: "[[[]]]"})


@pytest.mark.parametrize(
    ("variable", "proposal"),
    [("MNIST_MLP_EPOCH", "MNIST_MLP_EPOCHS"), ("MNIST_MLP_DATADIR", "MNIST_MLP_DATA")],
)
def test_an_unknown_variable_is_refused(variable: str, proposal: str) -> None:
    with pytest.raises(SpecError, match=f"unknown variable {variable}; did you mean '{proposal}"):
        resolve(environ={variable: "1"})


def test_variables_that_are_no_keys_are_left_alone() -> None:
    environ = {"MNIST_MLP_DATA": "/x", "MNIST_MLP_CACHE": "/y", "MNIST": "1"}
    assert resolve(environ=environ).spec == Spec()


@pytest.mark.parametrize(
    ("text", "leaf", "value"),
    [
        ("training.epochs=2", "epochs", 2),
        (" training.epochs = 2 ", "epochs", 2),
        ("epochs=2", "epochs", 2),
        ("precision=float64", "precision", "float64"),
        ('training.precision="float64"', "precision", "float64"),
    ],
)
def test_forms_of_set(text: str, leaf: str, value: Any) -> None:
    assert getattr(resolve(environ={}, assignments=[text]).spec.training, leaf) == value


def test_set_takes_lists_and_words_with_a_parameter() -> None:
    assignments = [
        "model.layer_sizes=[108, 32, 3]",
        'model.activations=["leaky_relu(0.1)", "softmax"]',
        "optimizer.schedule=[[10, 0.1], [20, 0.01]]",
    ]
    spec = resolve(environ={}, assignments=assignments).spec
    assert spec.model.layers == ((108, 32, "leaky_relu(0.1)"), (32, 3, "softmax"))
    assert spec.optimizer.schedule == ((10, 0.1), (20, 0.01))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.epochs", "expected section.key=value"),
        ("training.epoch=2", "did you mean 'training.epochs'?"),
        ("training=2", "unknown key 'training'"),
        ("training.epochs=", "'' is not a TOML value"),
        ("model.activations=[relu, softmax]", "is not a TOML value"),
        ("training.epochs=two", "training.epochs = 'two' (from --set training.epochs=two)"),
    ],
)
def test_wrong_forms_of_set(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(environ={}, assignments=[text])
    assert words in str(caught.value)
    assert f"--set {text}" in str(caught.value)


# --- Activations and sizes from different sources -------------------------------------------------

THREE = 'activations = ["relu", "tanh", "softmax"]'


@pytest.mark.parametrize(
    ("file", "environ", "assignments", "activations"),
    [
        # Sizes alone: the first hidden activation of the sources below is repeated.
        ("[model]\nlayer_sizes = [784, 9, 8, 7, 10]", {}, [], "sigmoid sigmoid sigmoid softmax"),
        (f"[model]\n{THREE}", {}, ["model.layer_sizes=[784,9,8,7,10]"], "relu relu relu softmax"),
        (f"[model]\n{THREE}", {}, ["model.layer_sizes=[784,9,8,10]"], "relu relu softmax"),
        (f"[model]\n{THREE}", {}, ["model.layer_sizes=[784,10]"], "softmax"),
        (
            f"[model]\n{THREE}",
            {"MNIST_MLP_MODEL_LAYER_SIZES": "[784, 9, 10]"},
            [],
            "relu softmax",
        ),
        # Both from one source: both are meant, in whatever order they are written.
        (f"[model]\n{THREE}\nlayer_sizes = [784, 9, 8, 10]", {}, [], "relu tanh softmax"),
        (
            "",
            {},
            [f"model.{THREE.replace(' = ', '=')}", "model.layer_sizes=[784,9,8,10]"],
            "relu tanh softmax",
        ),
        (
            "",
            {
                "MNIST_MLP_MODEL_ACTIVATIONS": THREE.partition(" = ")[2],
                "MNIST_MLP_MODEL_LAYER_SIZES": "[784, 9, 8, 10]",
            },
            [],
            "relu tanh softmax",
        ),
        # Activations over the sizes of a source below.
        (
            "[model]\nlayer_sizes = [784, 9, 8, 10]",
            {},
            [f"model.{THREE}"],
            "relu tanh softmax",
        ),
    ],
)
def test_repeated_activations(
    tmp_path: Path, file: str, environ: dict[str, str], assignments: list[str], activations: str
) -> None:
    config = write(tmp_path, file)
    resolved = resolve(config=config, environ=environ, assignments=assignments)
    assert " ".join(resolved.spec.model.activations) == activations


def test_a_repeated_activation_tells_its_origin() -> None:
    resolved = resolve(environ={}, assignments=["model.layer_sizes=[784,9,10]"])
    told = resolved.origins["model.activations"]
    assert told == "sigmoid repeated, as --set model.layer_sizes=[784,9,10] asks"


@pytest.mark.parametrize("value", ["[]", "3", '"relu"'])
def test_odd_activations_below_given_sizes_are_refused_in_words(tmp_path: Path, value: str) -> None:
    config = write(tmp_path, f"[model]\nactivations = {value}")
    with pytest.raises(SpecError, match=r"model\.activations"):
        resolve(config=config, environ={}, assignments=["model.layer_sizes=[784,9,10]"])


# --- Files ----------------------------------------------------------------------------------------


def test_a_file_without_a_name_is_named_after_itself(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "seed = 3")) == {"name": "mine", "seed": 3}
    assert resolve(config=write(tmp_path, 'name = "his"'), environ={}).spec.name == "his"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = ", "not valid TOML"),
        ("seed = 1\nseed = 2", "not valid TOML"),
        ("sede = 1", "unknown key 'sede'; did you mean 'seed'?"),
        ("[training]\nepoch = 1", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("training = 1", "'training' is a section ([training]), not a value: 1"),
        ("[seed]\nx = 1", "seed"),
        ("seed = 1.5", "seed = 1.5 (from "),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    config = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        resolve(config=config, environ={})
    assert words in str(caught.value)
    assert str(config) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    for name, words in (
        ("none.toml", "no such configuration file"),
        ("", "is a folder, expected a file"),
        ("latin.toml", "not readable UTF-8 text"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            resolve(config=tmp_path / name, environ={})
        assert caught.value.exit_code == EXIT_USAGE
        assert str(tmp_path / name) in str(caught.value)
