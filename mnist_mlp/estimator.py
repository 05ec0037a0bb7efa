"""A scikit-learn classifier over any backend.

Backends train on 8-bit greys, as the tutorial does. So features that are not uint8 are scaled to
256 levels, between each feature's smallest and largest value in the training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mnist_mlp.contract import EpochRecord, Progress, TrainingData
from mnist_mlp.errors import DivergedError
from mnist_mlp.plan import Plan, check_memory, glorot_uniform
from mnist_mlp.reference import forward, log_softmax, scale_pixels
from mnist_mlp.spec import MAX_SEED, Spec, parse_spec, repeated_activations
from mnist_mlp.worker.parent import Worker

_LEVELS = 255


class MLPClassifier(ClassifierMixin, BaseEstimator):
    """A multilayer perceptron, trained by Keras, Lightning, NumPy or a custom backend.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(128, 64)
    activation : str, default="sigmoid"
        Activation of all hidden layers; see `mnist_mlp.spec.ACTIVATIONS`.
    backend : str, default="keras"
        A registered name or `module:Class`.
    optimizer : {"sgd", "adam"}, default="sgd"
    learning_rate : float, default=0.01
    momentum : float, default=0.0
    weight_decay : float, default=0.0
    batch_size : int, default=128
    epochs : int, default=10
    random_state : int, RandomState instance or None, default=None
        Seed for the initial weights and for the order of each epoch.
    threads : int, default=1

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    n_features_in_ : int
    spec_ : Spec
        The specification that was trained.
    weights_ : dict of ndarray
        Trained weights by canonical name: `layers.0.kernel` (inputs, units), ...
    loss_curve_ : list of float
        Mean training loss of each epoch.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (128, 64),
        activation: str = "sigmoid",
        *,
        backend: str = "keras",
        optimizer: str = "sgd",
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        batch_size: int = 128,
        epochs: int = 10,
        random_state: Any = None,
        threads: int = 1,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.backend = backend
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state
        self.threads = threads

    def fit(self, X: Any, y: Any) -> MLPClassifier:
        """Train on features `X` (n, n_features) and labels `y` (n,)."""
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"this classifier needs at least two classes, but y has only 1 class: "
                f"{self.classes_[0]!r}"
            )
        if len(self.classes_) > 256:  # labels are passed to backends as uint8
            raise ValueError(f"y has {len(self.classes_)} classes; at most 256 are supported")
        self._low = X.min(axis=0)
        # A constant feature would divide by zero; 1 makes it constantly 0.
        self._range = np.where(np.ptp(X, axis=0) > 0, np.ptp(X, axis=0), 1)
        self._as_they_are = X.dtype == np.uint8
        images = self._greys(X)
        self.spec_ = self._specification()
        rows = np.arange(len(X))
        check_memory(self.spec_, rows=len(X))
        plan = Plan(
            spec=self.spec_,
            train_ids=rows,
            # All rows are trained on, but a backend needs a row to validate with.
            test_ids=rows[:1],
            initial_weights=glorot_uniform(
                self.spec_.model, seed=self.spec_.seed, dtype=self.spec_.training.precision
            ),
        )
        labels = encoded.astype(np.uint8)
        data = TrainingData(images, labels, images[:1], labels[:1])
        records: list[EpochRecord] = []
        with Worker(self.backend, accelerator="cpu", threads=self.threads) as worker:
            worker.open(self.spec_)
            worker.fit(plan, data, Progress(epoch=records.append))
        self.weights_ = dict(records[-1].weights)
        self.loss_curve_ = [record.loss for record in records]
        if not all(np.isfinite(w).all() for w in self.weights_.values()):
            raise DivergedError(
                "training diverged: the final weights are not finite; lower learning_rate"
            )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Class probabilities (n, n_classes) for features (n, n_features)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        pixels = scale_pixels(self._greys(X), dtype=np.float64)
        weights = {name: w.astype(np.float64) for name, w in self.weights_.items()}
        probabilities: NDArray[np.float64] = np.exp(
            log_softmax(forward(weights, self.spec_.model.activations, pixels).logits)
        )
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """Predicted labels (n,) for features (n, n_features)."""
        chosen = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels

    def _specification(self) -> Spec:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(0, 2**31 - 1)
        sizes = [self.n_features_in_, *self.hidden_layer_sizes, len(self.classes_)]
        return parse_spec(
            {
                "name": "estimator",
                "seed": int(seed) % (MAX_SEED + 1),
                "model": {
                    "layer_sizes": sizes,
                    "activations": repeated_activations(self.activation, layers=len(sizes) - 1),
                },
                "optimizer": {
                    "name": self.optimizer,
                    "learning_rate": self.learning_rate,
                    "momentum": self.momentum,
                    "weight_decay": self.weight_decay,
                },
                "training": {"batch_size": self.batch_size, "epochs": self.epochs},
            }
        )

    def _greys(self, X: NDArray[Any]) -> NDArray[np.uint8]:
        if self._as_they_are and X.dtype == np.uint8:
            return np.ascontiguousarray(X)
        levels = (np.asarray(X, np.float64) - self._low) / self._range * _LEVELS
        return np.clip(np.round(levels), 0, _LEVELS).astype(np.uint8)
