"""A fourth backend, as a stranger would write it: it knows `mnist_mlp.contract` and nothing else.

Plain SGD with sigmoid or ReLU, on a row-major layout of its own `(units, inputs + 1)` with the bias
as a last column. What it cannot do stands in its `Capabilities`.
"""

import time

import numpy as np

from mnist_mlp.contract import Capabilities, Environment, EpochRecord, State, StepRecord


class StrangerBackend:
    capabilities = Capabilities(
        activations=("sigmoid", "relu"),
        optimizers=("sgd",),
        momentum=False,
        nesterov=False,
        weight_decay=False,
        clip_norm=False,
        schedule=False,
    )
    packages = ("numpy",)
    install = "pip install stranger-backend"

    def environment(self):
        return Environment(versions={"stranger-backend": "1.0"})

    def open(self, spec, runtime):
        self.spec = spec
        return {"layout": "bias in the last column"}

    def fit(self, plan, data, progress):
        weights, step = plan.initial_weights, 0
        for epoch in range(1, self.spec.training.epochs + 1):
            start, losses, hits = time.perf_counter(), 0.0, 0
            for rows in plan.batches(epoch):
                labels = data.train_labels[rows]
                record = self.step(State(step, weights), data.train_images[rows], labels)
                weights, step = record.state.weights, record.state.step
                losses += record.loss * len(rows)
                hits += int((record.pre_activations[-1].argmax(axis=1) == labels).sum())
                progress.step(step)
            logits = self.predict(weights, data.test_images)
            n, labels = len(data.train_labels), data.test_labels
            progress.epoch(
                EpochRecord(
                    epoch=epoch,
                    loss=losses / n,
                    accuracy=hits / n,
                    val_loss=float(self._losses(logits, labels).mean()),
                    val_accuracy=float((logits.argmax(axis=1) == labels).mean()),
                    seconds=time.perf_counter() - start,
                    weights=weights,
                )
            )

    def step(self, state, images, labels):
        matrices = self._matrices(state.weights)
        zs, inputs = self._forward(matrices, images)
        n = len(labels)
        delta = np.exp(zs[-1] - np.logaddexp.reduce(zs[-1], axis=1, keepdims=True))
        delta[np.arange(n), labels] -= 1
        delta /= n
        gradients = []
        for index in reversed(range(len(matrices))):
            gradients.insert(0, delta.T @ inputs[index])
            if index:
                a, below = inputs[index][:, :-1], delta @ matrices[index][:, :-1]
                sigmoid = self.spec.model.activations[index - 1] == "sigmoid"
                delta = below * (a * (1 - a) if sigmoid else a > 0)
        rate = matrices[0].dtype.type(self.spec.optimizer.learning_rate)
        updated = [m - rate * g for m, g in zip(matrices, gradients, strict=True)]
        return StepRecord(
            inputs=inputs[0][:, :-1],
            pre_activations=tuple(zs),
            activations=tuple(a[:, :-1] for a in inputs[1:]),
            loss=float(self._losses(zs[-1], labels).mean()),
            gradient=self._canonical(gradients),
            state=State(state.step + 1, self._canonical(updated)),
        )

    def predict(self, weights, images):
        return self._forward(self._matrices(weights), images)[0][-1]

    def _forward(self, matrices, images):
        dtype = self.spec.training.precision
        a = np.divide(images, 255, dtype=dtype)
        zs, inputs = [], []
        for matrix, name in zip(matrices, self.spec.model.activations, strict=True):
            inputs.append(np.concatenate([a, np.ones((len(a), 1), dtype)], axis=1))
            z = inputs[-1] @ matrix.T
            zs.append(z)
            with np.errstate(over="ignore"):
                a = 1 / (1 + np.exp(-z)) if name == "sigmoid" else np.maximum(z, 0)
        return zs, inputs

    @staticmethod
    def _losses(logits, labels):
        return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]

    @staticmethod
    def _matrices(weights):
        layers = len(weights) // 2
        return [
            np.concatenate(
                [weights[f"layers.{i}.kernel"].T, weights[f"layers.{i}.bias"][:, None]], 1
            )
            for i in range(layers)
        ]

    @staticmethod
    def _canonical(matrices):
        tensors = {}
        for i, matrix in enumerate(matrices):
            tensors[f"layers.{i}.kernel"] = matrix[:, :-1].T.copy()
            tensors[f"layers.{i}.bias"] = matrix[:, -1].copy()
        return tensors
