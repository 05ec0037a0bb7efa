"""`mnist_mlp predict`: classify pictures with a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_mlp.cli import options as o


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files of any size.")],
    best: o.Best = False,
    json: o.Json = False,
) -> None:
    """Classify pictures: show each as the network sees it, its class and its probabilities.

    Example: python -m mnist_mlp predict runs/tutorial/keras seven.png
    """
    import numpy as np

    from mnist_mlp.cli.output import print_json, sketch, tell_note, weights_document
    from mnist_mlp.errors import DivergedError
    from mnist_mlp.exchange.pictures import read_picture
    from mnist_mlp.reference import forward, log_softmax, scale_pixels
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.network import Network

    folder = Run(run, complete=False)
    network = Network(folder, best=best)
    tell_note(network)
    # Predicted by the NumPy reference, so that no framework has to be installed. The weights are
    # read first, because they confirm the size of the images.
    weights = {name: array.astype(np.float64) for name, array in network.weights.items()}
    pictures = np.stack([read_picture(path, folder.image_shape) for path in images])
    pixels = scale_pixels(pictures.reshape(len(pictures), -1), dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        logits = forward(weights, folder.spec.model.activations, pixels).logits
    if not np.isfinite(logits).all():
        raise DivergedError(f"{run}: with its weights, a logit of these pictures is not finite")
    probabilities = np.exp(log_softmax(logits))
    if json:
        results = [
            {"image": str(path), "class": int(p.argmax()), "probabilities": p.tolist()}
            for path, p in zip(images, probabilities, strict=True)
        ]
        print_json(
            {
                "schema_version": 1,
                "run": str(run),
                **weights_document(network),
                "predictions": results,
            }
        )
        return
    for path, picture, p in zip(images, pictures, probabilities, strict=True):
        typer.echo(f"{path}: {int(p.argmax())} ({p.max():.1%})")
        typer.echo(sketch(picture[None]))
        typer.echo("  ".join(f"{label}: {share:.1%}" for label, share in enumerate(p)))
        typer.echo("")
