"""What the figures show, checked on the figures themselves and on their pixels."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_mlp.evaluate import Evidence, History, evaluate

HEADING = "embedded digits, not MNIST"
FIGURES = ("curves", "confusion", "mistakes", "weights")
ALL_FILES = ["report.txt", "report.json"] + [
    f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")
]


def evidence(
    *,
    n: int = 2000,
    classes: int = 10,
    shape: tuple[int, int] = (28, 28),
    units: int = 6,
    epochs: int = 10,
    right: float = 0.9,
    heading: str | None = None,
) -> Evidence:
    """A run that looks real: noisy logits, falling loss, some mistakes, weights of 0.05."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    sure = rng.random(n) < right
    logits[np.flatnonzero(sure), y_true[sure]] += 20
    ids = rng.permutation(3 * n)[:n]
    wrong = np.flatnonzero(logits.argmax(axis=1) != y_true)
    falling = 2.3 * 0.8 ** np.arange(epochs)
    return Evidence(
        y_true=y_true,
        logits=logits,
        ids=ids,
        classes=classes,
        first_kernel=0.05 * rng.normal(size=(shape[0] * shape[1], units)),
        image_shape=shape,
        example_ids=ids[wrong][::-1],
        example_images=rng.integers(0, 256, (len(wrong), *shape), dtype=np.uint8),
        history=History(falling, 1 - falling / 3, falling * 0.95, 1 - falling / 2.9),
        heading=heading,
    )


def pixels(png: bytes) -> NDArray[np.int16]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def changed(given: Evidence, **changes: Any) -> Evidence:
    return Evidence(**{**vars(given), **changes})


def figure(name: str, given: Evidence) -> Any:
    from mnist_mlp.evaluate import figures

    with figures.canvas.house_style():
        return getattr(figures, name).draw(given)


def texts(of: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in of.findobj(Text)]


def test_files_are_those_of_the_contract() -> None:
    assert list(evaluate(evidence(n=200))) == ALL_FILES
    without_history = changed(evidence(n=200), history=History())
    left = [name for name in ALL_FILES if "curves" not in name]
    assert list(evaluate(without_history)) == left


def test_heading_stands_in_every_figure_and_only_if_given() -> None:
    given = evidence(n=200, units=3)
    for name in FIGURES:
        assert HEADING not in " ".join(texts(figure(name, given)))
        assert HEADING in texts(figure(name, changed(given, heading=HEADING)))
    files = evaluate(changed(given, heading=HEADING))
    for name in FIGURES:
        title = ElementTree.fromstring(files[f"figures/{name}.svg"]).find(".//{*}title")
        assert title is not None
        assert title.text is not None
        assert HEADING in title.text


def test_curves_draw_each_column_on_its_axis_from_epoch_1() -> None:
    history = History([2.0, 1.0, 0.5], [0.2, 0.4, 0.6], [1.9, 1.1, 0.7], [0.3, 0.5, 0.55])
    left, right = figure("curves", changed(evidence(n=50), history=history)).axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("Cross-entropy loss", "Accuracy")
    for axes, train, validation in (
        (left, history.loss, history.val_loss),
        (right, history.accuracy, history.val_accuracy),
    ):
        assert axes.get_xlabel() == "Epoch"
        assert axes.get_xticks().tolist() == [1, 2, 3]
        for line, label, values in zip(
            axes.get_lines(), ("Training", "Validation"), (train, validation), strict=True
        ):
            assert line.get_label() == label
            assert line.get_xdata().tolist() == [1, 2, 3]
            np.testing.assert_allclose(line.get_ydata(), values, atol=1e-4)
            low, high = axes.get_ylim()
            assert low <= min(values)
            assert max(values) <= high


@pytest.mark.parametrize(
    ("epochs", "ticks"),
    [
        (1, [1]),
        (10, list(range(1, 11))),
        (25, [1, 5, 10, 15, 20, 25]),
        (100, [1, *range(10, 101, 10)]),
    ],
)
def test_epoch_ticks_are_whole_and_few(epochs: int, ticks: list[int]) -> None:
    left, right = figure("curves", evidence(n=50, epochs=epochs)).axes
    assert left.get_xticks().tolist() == right.get_xticks().tolist() == ticks


def test_a_single_epoch_is_visible() -> None:
    vermillion = np.array([0xD5, 0x5E, 0x00])
    image = pixels(evaluate(evidence(n=50, epochs=1))["figures/curves.png"])
    body = image[: int(image.shape[0] * 0.8)]  # above the legend
    assert np.count_nonzero((body == vermillion).all(axis=2)) > 200


def test_confusion_figure_shows_true_rows_and_predicted_columns() -> None:
    given = changed(
        evidence(n=50, classes=3, right=1.0),
        y_true=np.array([0, 0, 1]),
        logits=np.eye(3)[[1, 1, 1]],
        ids=np.array([1, 2, 3]),
        example_ids=np.array([1, 2]),
        example_images=np.zeros((2, 28, 28), dtype=np.uint8),
    )
    axes = figure("confusion", given).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class", "True class")
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {(1, 0): "2", (1, 1): "1"}  # (x, y): column, row
    assert axes.get_ylim() == (2.5, -0.5)  # class 0 on top
    share = axes.collections[0].get_array().reshape(3, 3)
    assert share.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_mistakes_figure_shows_the_right_picture_with_its_labels() -> None:
    p = np.array([[0.1, 0.9, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    images = np.zeros((2, 28, 28), dtype=np.uint8)
    images[0, 0, 5] = 255  # row 7's ink: top row, sixth column
    given = changed(
        evidence(n=50, classes=3, right=1.0),
        y_true=np.array([2, 0, 2]),
        logits=np.log(p + 1e-12),
        ids=np.array([7, 8, 9]),
        example_ids=np.array([7, 8]),
        example_images=images,
    )
    axes = figure("mistakes", given).axes[0]
    captions = [text.get_text() for text in axes.texts]
    assert captions == ["2 \u2192 1", "90.0 %", "0 \u2192 1", "75.0 %"]
    first, second = (image.get_array() for image in axes.images)
    assert first[0, 5].tolist() == [0, 0, 0]
    assert first.sum() == 255 * 3 * (28 * 28 - 1)
    assert second.min() == 255


def test_no_mistakes_is_said_in_words() -> None:
    given = evidence(n=50, right=1.0)
    assert len(given.example_ids) == 0
    assert "No mistakes" in texts(figure("mistakes", given))
    assert "All 50 test rows are classified correctly." in texts(figure("mistakes", given))
    assert list(evaluate(given)) == ALL_FILES


def test_weights_figure_shows_each_unit_upright() -> None:
    # One strong positive weight, at the top right pixel of a picture 3 high and 2 wide.
    kernel = np.zeros((6, 2))
    kernel[1, 1] = 1.0
    given = changed(
        evidence(n=50, right=1.0, units=2),
        first_kernel=kernel,
        image_shape=(3, 2),
        example_images=np.zeros((0, 3, 2), dtype=np.uint8),
    )
    drawn = figure("weights", given)
    left, right = drawn.axes[0].images
    assert np.ptp(left.get_array(), axis=(0, 1)).max() == 0
    x0, x1, y0, y1 = (round(edge) for edge in right.get_extent())
    image = pixels(evaluate(given)["figures/weights.png"])
    orange = image[..., 0] - image[..., 2] > 100
    rows, columns = np.nonzero(orange[:, x0:x1])
    top = image.shape[0] - y1
    assert (columns.min(), columns.max() + 1) == ((x1 - x0) // 2, x1 - x0)
    assert (rows.min() - top, rows.max() + 1 - top) == (0, (y1 - y0) // 3)


def test_neighbouring_weight_colours_differ_by_two_levels_at_most() -> None:
    # Else a weight that crosses a colour's border by a rounding would be seen to change.
    ramp = np.linspace(-1.0, 1.0, 28 * 28)[:, None]
    drawn = figure("weights", changed(evidence(n=50), first_kernel=ramp))
    colours = drawn.axes[0].images[0].get_array().reshape(-1, 3).astype(int)
    assert np.abs(np.diff(colours, axis=0)).max() <= 2
    assert len(np.unique(colours, axis=0)) > 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.25, 0.25), (0.2501, 0.26), (1.0, 1.0), (0.0999, 0.1), (7.31, 7.4), (123.0, 130.0)],
)
def test_limits_are_round_and_do_not_jump_with_the_last_digit(
    value: float, expected: float
) -> None:
    from mnist_mlp.evaluate.figures.canvas import rounded_up

    for nudge in (-2e-7, 0.0, 2e-7):
        assert rounded_up(value * (1 + nudge), digits=2) == expected


@pytest.mark.parametrize(
    "unusual",
    [
        {"classes": 3, "shape": (12, 9), "units": 5, "heading": "x" * 300},
        {"classes": 47, "epochs": 100, "right": 0.8, "units": 70},
        {"classes": 2, "shape": (1, 150), "units": 1, "epochs": 1},
    ],
)
def test_unusual_sizes_give_every_file(unusual: dict[str, Any]) -> None:
    given = evidence(n=300, **unusual)
    assert list(evaluate(given)) == ALL_FILES
    for name in FIGURES:
        assert_all_inside(figure(name, given))


def assert_all_inside(drawn: Any) -> None:
    """Nothing that is drawn, text above all, reaches beyond the figure's edge."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    box = drawn.get_tightbbox(FigureCanvasAgg(drawn).get_renderer())  # inches
    width, height = drawn.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_zero_weights_have_a_scale() -> None:
    given = evidence(n=50, units=2)
    assert list(evaluate(changed(given, first_kernel=given.first_kernel * 0))) == ALL_FILES
