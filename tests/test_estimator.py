"""The scikit-learn classifier: scikit-learn's own checks, and what it promises itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import check_estimator

from mnist_mlp import MLPClassifier

EXPECTED_TO_FAIL: dict[str, str] = {}
"""Checks of scikit-learn that the classifier does not pass, with the reason. None."""

ALLOWED_SKIPS = {
    "check_array_api_input": "needs SCIPY_ARRAY_API set",
    "check_classifier_data_not_an_array": "needs pandas",
}


def quick(**changes: Any) -> MLPClassifier:
    options: dict[str, Any] = {
        "backend": "numpy",
        "hidden_layer_sizes": (16,),
        "activation": "relu",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "batch_size": 16,
        "epochs": 40,
        "random_state": 0,
    }
    return MLPClassifier(**options | changes)


@pytest.mark.long
def test_scikit_learn_s_own_checks(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of its skips by warnings
        results = check_estimator(quick(), on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    passed = sum(r["status"] == "passed" for r in results)
    with capsys.disabled():
        print(f" check_estimator: {passed} passed, {len(skipped)} skipped", end=" ")
    assert failed.keys() == EXPECTED_TO_FAIL.keys(), failed
    assert skipped <= ALLOWED_SKIPS.keys()
    assert passed >= 45


def test_it_learns_and_names_its_classes() -> None:
    X, y = load_digits(return_X_y=True)
    names = np.array(["class " + str(label) for label in y])
    train_x, test_x, train_y, test_y = train_test_split(X, names, random_state=0)
    model = quick(hidden_layer_sizes=(32,)).fit(train_x, train_y)
    assert model.score(test_x, test_y) > 0.93
    assert set(model.predict(test_x)) <= set(names)
    assert model.predict_proba(test_x).sum(axis=1) == pytest.approx(np.ones(len(test_x)))
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_8_bit_images_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 40, (64, 9)).astype(np.uint8)
    model = quick(epochs=1).fit(X, X[:, 0] > 20)
    assert np.array_equal(model._greys(X), X)
    assert not np.array_equal(model._greys(X.astype(float)), X)


def test_search_over_its_parameters_works() -> None:
    X, y = load_digits(n_class=3, return_X_y=True)
    search = GridSearchCV(quick(epochs=5), {"learning_rate": [1e-6, 0.01]}, cv=2)
    search.fit(X[:200], y[:200])
    assert search.best_params_ == {"learning_rate": 0.01}


def test_every_backend_trains_the_same(backend: str) -> None:
    X, y = load_digits(n_class=4, return_X_y=True)
    settings = {"activation": "sigmoid", "optimizer": "sgd", "learning_rate": 0.5, "epochs": 3}
    here = quick(backend=backend, **settings).fit(X[:300], y[:300])
    there = quick(backend="numpy", **settings).fit(X[:300], y[:300])
    for name, tensor in there.weights_.items():
        assert np.abs(here.weights_[name] - tensor).max() < 1e-5
