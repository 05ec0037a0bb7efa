"""The specification: defaults, configurations, refusals, digest."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from mnist_mlp.errors import EXIT_USAGE
from mnist_mlp.spec import (
    ACTIVATIONS,
    OptimizerSpec,
    Spec,
    SpecError,
    activation_parts,
    known_keys,
    leaf_keys,
    parse_spec,
    spec_digest,
)

CONFIGS = Path(__file__).parent.parent / "configs"


def parsed(name: str) -> Spec:
    return parse_spec(tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8")))


def test_the_default_is_the_tutorial() -> None:
    spec = Spec()
    assert spec.model.layers == (
        (784, 128, "sigmoid"),
        (128, 64, "sigmoid"),
        (64, 10, "softmax"),
    )
    assert spec.model.parameters == 100_480 + 8_256 + 650
    assert (spec.optimizer.name, spec.optimizer.learning_rate) == ("sgd", 0.01)
    assert (spec.optimizer.momentum, spec.optimizer.weight_decay) == (0, 0)
    assert (spec.training.batch_size, spec.training.epochs) == (128, 10)
    assert spec.training.precision == "float32"
    assert (spec.data.dataset, spec.data.test_fraction, spec.data.rows) == ("auto", 0.25, "all")
    assert spec.seed == 42


def test_the_default_is_tutorial_toml() -> None:
    assert parsed("tutorial") == Spec()
    assert parsed("tutorial").model_dump() == Spec().model_dump()
    assert parsed("headline") != Spec()  # the comparison can fail


def test_every_configuration_parses_and_is_named_after_its_file() -> None:
    names = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    assert {"tutorial", "headline", "relu", "momentum", "digits", "tiny"} <= set(names)
    specs = [parsed(name) for name in names]
    assert [spec.name for spec in specs] == names
    assert len({spec.digest for spec in specs}) == len(specs)


def test_what_the_named_configurations_are_for() -> None:
    assert parsed("headline").training.epochs == 100
    assert parsed("relu").model.activations == ("relu", "relu", "softmax")
    assert parsed("relu").optimizer.learning_rate == 0.1
    assert parsed("momentum").optimizer == OptimizerSpec(momentum=0.9)
    assert parsed("digits").data.dataset == "digits"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"sede": 1}, ["'sede'", "'seed'"]),
        ({"modle": {}}, ["'modle'", "'model'"]),
        ({"data": {"test_fracton": 0.5}}, ["'data.test_fracton'", "'test_fraction'"]),
        ({"model": {"layers": [4, 2]}}, ["'model.layers'", "'layer_sizes'"]),
        ({"optimizer": {"learnig_rate": 1}}, ["'optimizer.learnig_rate'", "'learning_rate'"]),
        ({"training": {"zzz": 1}}, ["'training.zzz'", "known: batch_size, epochs, precision"]),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(raw)
    assert caught.value.exit_code == EXIT_USAGE
    for word in ["unknown key", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"seed": "42"}, ["seed = '42'", "integer"]),
        ({"seed": True}, ["seed = True", "integer"]),
        ({"seed": 2**32}, ["seed = 4294967296", "4294967295"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"name": "../x"}, ["name = '../x'"]),
        ({"training": {"epochs": 2.0}}, ["training.epochs = 2.0", "integer"]),
        ({"training": {"epochs": 0}}, ["training.epochs = 0"]),
        ({"training": {"precision": "float16"}}, ["'float16'", "float32", "float64"]),
        ({"training": 3}, ["training = 3"]),
        ({"data": {"rows": "some"}}, ["data.rows = 'some'", "integer", "'all'"]),
        ({"data": {"rows": 1}}, ["data.rows = 1", "2"]),
        ({"data": {"test_fraction": 1.0}}, ["data.test_fraction = 1.0"]),
        ({"data": {"dataset": "idx"}}, ["data.dataset = 'idx'", "'digits'"]),
        ({"model": {"layer_sizes": [784]}}, ["model.layer_sizes"]),
        ({"model": {"layer_sizes": [784, 0, 10]}}, ["model.layer_sizes.1 = 0"]),
        ({"model": {"layer_sizes": [4, 1]}}, ["classes", "at least 2"]),
        ({"optimizer": {"learning_rate": float("nan")}}, ["optimizer.learning_rate = nan"]),
        ({"optimizer": {"learning_rate": 0}}, ["optimizer.learning_rate = 0"]),
        ({"optimizer": {"momentum": 1.0}}, ["optimizer.momentum = 1.0"]),
        ({"optimizer": {"weight_decay": -0.1}}, ["optimizer.weight_decay = -0.1"]),
    ],
)
def test_a_wrong_value_is_named_with_its_place(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(raw)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("optimizer", {"nesterov": True}, "nesterov needs momentum > 0"),
        ("optimizer", {"name": "adam", "momentum": 0.9}, "momentum belongs to sgd"),
        ("optimizer", {"beta_1": 0.8}, "beta_1 belongs to adam"),
        ("optimizer", {"epsilon": 1e-8}, "epsilon belongs to adam"),
        ("optimizer", {"schedule": [[5, 0.1], [5, 0.2]]}, "schedule steps must increase"),
        ("optimizer", {"schedule": [[9, 0.1], [5, 0.2]]}, "schedule steps must increase"),
        ("model", {"activations": ["relu", "softmax"]}, "2 activations for 3 layers"),
        ("model", {"activations": ["relu", "relu", "relu"]}, "must be 'softmax', not 'relu'"),
        ("model", {"activations": []}, "must be 'softmax'"),
        ("model", {"activations": ["softmax", "relu", "softmax"]}, "last layer only"),
        ("model", {"activations": ["rleu", "relu", "softmax"]}, "did you mean 'relu'?"),
        ("model", {"activations": ["leaky_relu", "relu", "softmax"]}, "'leaky_relu(0.2)'"),
    ],
)
def test_values_that_do_not_fit_together(section: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=section) as caught:
        parse_spec({section: values})
    assert words in str(caught.value)


def test_the_origin_of_a_refused_value_is_told() -> None:
    with pytest.raises(SpecError, match=r"training\.epochs = -1 \(from --epochs\): "):
        parse_spec({"training": {"epochs": -1}}, origins={"training.epochs": "--epochs"})


@pytest.mark.parametrize(
    ("sizes", "activations"),
    [
        ([30, 4], ("softmax",)),
        ([30, 9, 4], ("sigmoid", "softmax")),
        ([30, 9, 8, 7, 4], ("sigmoid", "sigmoid", "sigmoid", "softmax")),
    ],
)
def test_sizes_alone_repeat_the_activation(sizes: list[int], activations: tuple[str, ...]) -> None:
    assert parse_spec({"model": {"layer_sizes": sizes}}).model.activations == activations


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_without_parameter(name: str) -> None:
    assert activation_parts(name) == (name, 0)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("leaky_relu(0.2)", 0.2), ("leaky_relu( .01 )", 0.01), ("leaky_relu(1e-3)", 1e-3)],
)
def test_leaky_relu_has_its_slope(name: str, slope: float) -> None:
    assert activation_parts(name) == ("leaky_relu", slope)


@pytest.mark.parametrize("slope", ["1", "-0.1", "1e3", "0.1.2", "e", "nan"])
def test_leaky_relu_refuses_other_slopes(slope: str) -> None:
    with pytest.raises(ValueError, match="leaky_relu"):
        activation_parts(f"leaky_relu({slope})")


def test_the_digest_ignores_the_name_and_spellings_alone() -> None:
    assert Spec(name="other").digest == Spec().digest
    model = {"layer_sizes": [4, 3, 2], "activations": ["leaky_relu(0.2)", "softmax"]}
    spelt = {**model, "activations": ["leaky_relu( .20 )", "softmax"]}
    assert parse_spec({"model": model}).digest == parse_spec({"model": spelt}).digest
    whole, real = ({"optimizer": {"learning_rate": rate}} for rate in (1, 1.0))
    assert parse_spec(whole).digest == parse_spec(real).digest


OTHER_VALUES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 43},
    "data.dataset": {"data": {"dataset": "mnist"}},
    "data.test_fraction": {"data": {"test_fraction": 0.26}},
    "data.rows": {"data": {"rows": 70_000}},
    "model.layer_sizes": {"model": {"layer_sizes": [784, 128, 65, 10]}},
    "model.activations": {"model": {"activations": ["sigmoid", "tanh", "softmax"]}},
    "optimizer.name": {"optimizer": {"name": "adam"}},
    "optimizer.learning_rate": {"optimizer": {"learning_rate": 0.01 + 1e-17}},
    "optimizer.momentum": {"optimizer": {"momentum": 0.9}},
    "optimizer.nesterov": {"optimizer": {"momentum": 0.9, "nesterov": True}},
    "optimizer.weight_decay": {"optimizer": {"weight_decay": 1e-9}},
    "optimizer.clip_norm": {"optimizer": {"clip_norm": 1.0}},
    "optimizer.schedule": {"optimizer": {"schedule": [[5, 0.01]]}},
    "optimizer.beta_1": {"optimizer": {"name": "adam", "beta_1": 0.8}},
    "optimizer.beta_2": {"optimizer": {"name": "adam", "beta_2": 0.99}},
    "optimizer.epsilon": {"optimizer": {"name": "adam", "epsilon": 1e-8}},
    "training.batch_size": {"training": {"batch_size": 127}},
    "training.epochs": {"training": {"epochs": 11}},
    "training.precision": {"training": {"precision": "float64"}},
    "training.patience": {"training": {"patience": 3}},
    "training.min_delta": {"training": {"patience": 3, "min_delta": 0.01}},
}


def test_every_key_but_the_name_is_in_the_digest() -> None:
    assert {"name", *OTHER_VALUES} == set(leaf_keys())
    digests = [parse_spec(raw).digest for raw in OTHER_VALUES.values()]
    assert len({Spec().digest, *digests}) == len(OTHER_VALUES) + 1


def test_the_learning_rate_of_each_step() -> None:
    plain = OptimizerSpec(learning_rate=0.5)
    assert [plain.rate_at(step) for step in (1, 2, 10**6)] == [0.5, 0.5, 0.5]
    scheduled = OptimizerSpec(learning_rate=0.5, schedule=((3, 0.1), (5, 0.2)))
    assert [scheduled.rate_at(step) for step in range(1, 7)] == [0.5, 0.5, 0.1, 0.1, 0.2, 0.2]
    assert OptimizerSpec(schedule=((1, 0.7),)).rate_at(1) == 0.7


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({}, True),
        ({"clip_norm": 1.0}, True),
        ({"momentum": 0.9}, False),
        ({"weight_decay": 0.1}, False),
        ({"name": "adam"}, False),
    ],
)
def test_plain_sgd(options: dict[str, Any], plain: bool) -> None:
    assert OptimizerSpec(**options).plain_sgd is plain


@pytest.mark.parametrize("place", ["spec", "section"])
def test_a_specification_cannot_be_changed(place: str) -> None:
    spec = Spec()
    with pytest.raises(ValidationError, match="frozen"):
        if place == "spec":
            spec.seed = 1
        else:
            spec.training.epochs = 1
    assert spec == Spec()
    assert isinstance(parse_spec({"model": {"layer_sizes": [4, 2]}}).model.layer_sizes, tuple)


# --- What is said of a wrong one ------------------------------------------------------------------


def said(raw: dict[str, Any], **origins: str) -> str:
    named = {key.replace("__", "."): origin for key, origin in origins.items()}
    with pytest.raises(SpecError) as caught:
        parse_spec(raw, origins=named)
    return str(caught.value)


def test_key_value_source_and_reason_are_said() -> None:
    raw: dict[str, Any] = {"training": {"epochs": 0}}
    reason = "Input should be greater than or equal to 1"
    assert said(raw) == f"training.epochs = 0: {reason}"
    assert (
        said(raw, training__epochs="--epochs") == f"training.epochs = 0 (from --epochs): {reason}"
    )


def test_a_section_that_does_not_fit_together_names_all_its_sources_but_defaults() -> None:
    raw: dict[str, Any] = {"optimizer": {"nesterov": True}}
    sources = {
        "optimizer__nesterov": "--set",
        "optimizer__name": "mine.toml",
        "optimizer__momentum": "default",
        "optimizer__epsilon": "mine.toml",
        "training__epochs": "--epochs",
    }
    assert said(raw, **sources) == (
        "optimizer (from --set, mine.toml): nesterov needs momentum > 0"
    )
    assert said(raw) == "optimizer: nesterov needs momentum > 0"


def test_what_is_no_specification_at_all() -> None:
    assert said(cast(Any, ["seed"])).startswith("Input should be a valid dictionary")


def test_an_entry_of_a_list_has_the_source_of_the_list() -> None:
    raw: dict[str, Any] = {"model": {"layer_sizes": [784, 0, 10]}}
    assert said(raw, model__layer_sizes="--set").startswith(
        "model.layer_sizes.1 = 0 (from --set): "
    )


def test_an_unknown_key_does_not_hide_other_problems() -> None:
    text = said({"data": {"rowz": 1}, "training": {"epochs": 0}})
    assert "unknown key 'data.rowz'; did you mean 'rows'?" in text
    assert "training.epochs = 0: " in text


def test_three_problems_are_said_at_most() -> None:
    raw: dict[str, Any] = {
        "training": {"batch_size": 0, "epochs": 0, "patience": -1, "min_delta": -1.0}
    }
    problems = said(raw).split("; ")
    assert [problem.split(" = ")[0] for problem in problems] == [
        "training.batch_size",
        "training.epochs",
        "training.patience",
    ]


def test_known_keys_of_no_section() -> None:
    assert known_keys(("nothing",)) == known_keys(("seed",)) == []
    assert said({"nothing": {"epochs": 1}}).startswith("unknown key 'nothing'; known: name, seed")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leaky_relu(1)", "'leaky_relu(1)': the slope of leaky_relu must be in [0, 1)"),
        ("leaky_relu(-0.1)", "'leaky_relu(-0.1)': the slope of leaky_relu must be in [0, 1)"),
        ("leaky_relu(0.1.2)", "'leaky_relu(0.1.2)': the slope of leaky_relu must be in [0, 1)"),
        ("softmax", "softmax is for the last layer only"),
        ("tanhh", "unknown activation 'tanhh'; did you mean 'tanh'?"),
    ],
)
def test_an_activation_that_cannot_be(name: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        activation_parts(name)
    assert str(caught.value) == words


def test_a_slope_may_be_zero() -> None:
    assert activation_parts("leaky_relu(0)") == ("leaky_relu", 0.0)
    assert activation_parts("leaky_relu( 0.999 )") == ("leaky_relu", 0.999)


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    document = Spec().model_dump(mode="json")
    turned = {key: document[key] for key in reversed(document)}
    assert list(turned) != list(document)
    assert spec_digest(turned) == spec_digest(document) == Spec().digest


def test_toml_is_read_back_as_the_same_specification() -> None:
    for spec in (Spec(), parse_spec({"data": {"rows": 70}, "optimizer": {"schedule": [[2, 0.5]]}})):
        text = spec.as_toml()
        assert parse_spec(tomllib.loads(text)) == spec
        assert text == text.strip()
