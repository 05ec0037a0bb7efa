"""A script's own training loop in torch: what is found, what is refused, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from loop_steps import (
    ROWS,
    require_changed_updates,
    require_own_steps,
    require_told_losses,
    script,
)

from mnist_mlp.data import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.ports.pair import Forced, Mend, PairJob
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.update_rules import ByStep
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
x, y = torch.randn(50, 4), torch.randn(50, 1)
loader = DataLoader(TensorDataset(x, y), batch_size=8)
net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loss_of = nn.MSELoss()
print(net(x[:2]))  # not a step, though it takes gradients
print(net(next(iter(loader))[0]))  # nor this, with a batch of the loader
"""

STEP = """
        optimizer.zero_grad()
        loss = loss_of(net(a), b)
        loss.backward()
        optimizer.step()
"""

LOOP = f"""
for epoch in range(EPOCHS):
    for a, b in loader:{STEP}
    with torch.no_grad():
        print("epoch", epoch, loss_of(net(x), y).item())

import pathlib
pathlib.Path(__file__).with_suffix(".after").write_text("done")
"""


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_loop_makes_the_judged_steps_and_ends(
    epochs: int, tmp_path: Path, workers: Workers
) -> None:
    """However many epochs it has itself, and without what comes after it."""
    worker = workers("torch")
    target = script(tmp_path, HEAD + LOOP.replace("EPOCHS", str(epochs)))
    described = worker.describe_port(target)
    assert described.loop
    assert [layer.kind for layer in described.layers] == ["Linear", "Tanh", "Linear"]
    brought = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    assert (brought.epochs, brought.own and brought.own.epochs[0].sizes) == (
        epochs,
        (8,) * 6 + (2,),
    )
    worker.pair_open([ROWS], precision="float64")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    require_own_steps(steps)
    assert not Path(target).with_suffix(".after").exists()


def test_a_loop_in_double_precision_gets_doubles(tmp_path: Path, workers: Workers) -> None:
    """Whatever the run is asked for: its weights and its own batches are of that type."""
    worker = workers("torch")
    text = HEAD.replace("nn.Linear(3, 1))", "nn.Linear(3, 1)).double()")
    for shape in ("(50, 4)", "(50, 1)"):
        text = text.replace(f"torch.randn{shape}", f"torch.randn{shape}.double()")
    worker.describe_port(script(tmp_path, text + LOOP.replace("EPOCHS", "2")))
    worker.pair_open([ROWS], precision="float32")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    require_own_steps(steps)
    assert not any(step.rough for step in steps)


def test_a_validation_in_training_mode_moves_statistics_in_the_last_step_of_an_epoch(
    tmp_path: Path, workers: Workers
) -> None:
    """What a loop does between two steps belongs to the first; an experiment keeps it from that."""
    worker = workers("torch")
    wrong = HEAD.replace("nn.Tanh()", "nn.BatchNorm1d(3), nn.Tanh()") + LOOP
    right = wrong.replace("    with torch.no_grad():", "    net.eval()\n    with torch.no_grad():")
    right = right.replace("    for a, b in loader:", "    net.train()\n    for a, b in loader:")
    found = []
    for text, mends in ((right, ()), (wrong, ()), (wrong, (Mend(None, "still"),))):
        worker.describe_port(script(tmp_path, text.replace("EPOCHS", "3")))
        worker.pair_open([ROWS], precision="float64")
        steps = worker.pair_fit(PairJob(ROWS, 2, mends=mends))
        found.append([step.after["1/mean"] for step in steps])
    assert [np.array_equal(a, b) for a, b in zip(*found[:2], strict=True)] == [True] * 2 + [
        False
    ] * 4
    assert np.array_equal(found[0], found[2])


TOLD = """
losses = []
for epoch in range(3):
    for a, b in loader:STEP
        losses.append([loss.item(), len(a)])
    import json, pathlib
    pathlib.Path(__file__).with_suffix(".losses").write_text(json.dumps(losses))
pathlib.Path(__file__).with_suffix(".after").write_text("done")
""".replace("STEP", STEP.rstrip())


def test_a_whole_training_tells_the_mean_loss_of_each_epoch(
    tmp_path: Path, workers: Workers
) -> None:
    """By the loop's own numbers; what comes after it does not happen."""
    worker = workers("torch")
    target = script(tmp_path, HEAD + TOLD)
    worker.describe_port(target)
    require_told_losses(worker, Path(target))


SLICES = f"""
for epoch in range(7):
    order = torch.randperm(len(x))
    for i in range(0, len(x), 16):
        a, b = x[order[i : i + 16]], y[order[i : i + 16]]
        {STEP}
"""


@pytest.mark.parametrize("loop", [LOOP.replace("EPOCHS", "3"), SLICES], ids=["loader", "slices"])
@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": ByStep((0.3, 0.2, 0.15))}, {"rate_in_velocity": True, "momentum": 0.9}],
    ids=["by an argument", "by rule"],
)
def test_experiments_change_the_updates_of_a_loop(
    loop: str, changes: dict[str, object], tmp_path: Path, workers: Workers
) -> None:
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + loop))
    worker.pair_open([ROWS], precision="float64")
    own = require_changed_updates(worker, changes, within=1e-14)
    assert all(settings["kind"] == "SGD" for settings in own[0].optimizer.values())
    assert own[0].optimizer.keys() == own[0].gradients.keys()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", ()),
        (
            "schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)\n",
            ("the schedule StepLR, asked by own code",),
        ),
        (
            "optimizer.param_groups[0]['lr'] = 0.1\n",
            ("what the script writes into param_groups after the first steps",),
        ),
    ],
    ids=["one rate", "a scheduler", "own code"],
)
def test_the_rates_of_a_loop_are_known_unless_own_code_sets_them(
    lines: str, words: tuple[str, ...], tmp_path: Path, workers: Workers
) -> None:
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + lines + LOOP.replace("EPOCHS", "2")))
    facts = worker.pair_open([ROWS], precision="float64")
    assert (facts.open_questions, facts.own_rates, facts.schedules) == (words, bool(words), ())
    assert worker.pair_rates([0, 5, 1000])["learning_rate"].tolist() == [0.1] * 3


def test_a_loop_may_make_its_batches_itself(tmp_path: Path, workers: Workers) -> None:
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + SLICES))
    brought = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    own = brought.own
    assert own is not None
    assert brought.epochs == 7
    assert [one.sizes for one in own.epochs] == [(16, 16, 16, 2)] * 3
    assert [len(set(one.ids)) for one in own.epochs] == [50] * 3
    assert not np.array_equal(own.epochs[0].ids, own.epochs[1].ids)
    worker.pair_open([ROWS], precision="float64")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    assert len(steps) == 6
    again = worker.pair_fit(PairJob(ROWS, 2))
    for step, other, x, y in zip(
        steps,
        again,
        [*np.split(ROWS.x, [8, 16]), *np.split(ROWS.x, [8, 16])],
        [*np.split(ROWS.y, [8, 16]), *np.split(ROWS.y, [8, 16])],
        strict=True,
    ):
        assert step.loss == other.loss
        assert np.array_equal(step.inputs[0], x)
        hidden = np.tanh(x @ step.before["0/kernel"] + step.before["0/bias"])
        out = hidden @ step.before["2/kernel"] + step.before["2/bias"]
        assert step.loss == pytest.approx(((out - y) ** 2).mean(), rel=1e-13)


def test_initial_weights_are_drawn_anew_though_the_script_sets_a_seed(
    tmp_path: Path, workers: Workers
) -> None:
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + LOOP.replace("EPOCHS", "2")))
    worker.pair_open([ROWS], precision="float32")
    draws = worker.pair_draws()
    kernels = {draw["0/kernel"].tobytes() for draw in draws}
    assert len(kernels) == len(draws) > 3


def test_a_loop_in_another_file_gets_all_batches_in_one_epoch(
    tmp_path: Path, workers: Workers
) -> None:
    """Whether there is a second epoch would be seen only after the training."""
    text = f"def train(loader, net, optimizer, loss_of):\n    for a, b in loader:{STEP}"
    (tmp_path / "loops_of_mine.py").write_text(text)
    call = "from loops_of_mine import train\ntrain(loader, net, optimizer, loss_of)\n"
    after = LOOP[LOOP.index("import pathlib") :]
    worker = workers("torch")
    target = script(tmp_path, HEAD + call + after)
    worker.describe_port(target)
    worker.pair_open([ROWS], precision="float64")
    assert len(worker.pair_fit(PairJob(ROWS, 2))) == 6
    assert not Path(target).with_suffix(".after").exists()


ALONE = {
    "tuple": ("for (a,) in loader:", "TensorDataset(x)"),
    "bare": ("for a in loader:", "x"),
    "beside": ("for a, _ in loader:", "TensorDataset(x, y)"),
}


@pytest.mark.parametrize("how", ALONE)
def test_an_autoencoder_makes_its_targets_of_its_inputs(
    how: str, tmp_path: Path, workers: Workers
) -> None:
    """Its rows are the targets, whatever its loader gives beside them, and they are as many in a
    loss by hand as its batch has."""
    head, data = ALONE[how]
    made = f"loader = DataLoader({data}, batch_size=8)\nnet = nn.Linear(4, 4)\n"
    made += "optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n"
    loop = f"for epoch in range(3):\n    {head}{STEP}".replace("(net(a), b)", "(net(a), a)")
    loop = loop.replace("loss.backward", "(loss * len(a)).backward")
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + made + loop))
    own = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1)).own
    assert own is not None
    assert own.epochs[0].sizes == (8,) * 6 + (2,)
    assert own.unlabelled == how
    assert np.array_equal(own.first_targets, own.rows.take(own.epochs[0].batches[0]))
    rows = PairRows(ROWS.x, ROWS.x, ROWS.batch_size, unlabelled=how)
    worker.pair_open([rows], precision="float64")
    steps = worker.pair_fit(PairJob(rows, 2))
    assert len(steps) == 2 * rows.steps
    for number, step in enumerate(steps):
        batch = list(rows.rows_of(number))
        apart = step.outputs[0] - rows.x[batch]
        assert step.loss == pytest.approx(len(batch) * (apart**2).mean(), rel=1e-12)


CLOSURE = """
def closure():
    optimizer.zero_grad()
    loss = loss_of(net(x), y)
    loss.backward()
    return loss
for _ in range(3):
    optimizer.step(closure)
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CLOSURE, "closure"),
        (
            f"loss_of = lambda p, b: (p - b).square().mean()\nfor a, b in [(x, y)] * 3:{STEP}",
            "its loss is none of torch's",
        ),
        (f"for a, b in [(x, y)]:{STEP}", "it makes no two epochs"),
        (
            f"for a, b in [(x, y)] * 3:{STEP}        loss_of(net(a), b)\n",
            "called 2 times for one update",
        ),
        (
            f"for a, b in loader:{STEP}".replace("net(a)", "net(a) + 0 * net(a)"),
            "called 2 times for one update",
        ),
        (
            f"for a, b in loader:{STEP}".replace(
                "        loss.backward()",
                "        loss.backward(retain_graph=True)\n        loss.backward()",
            ),
            "calls backward 2 times",
        ),
        (
            "scale = nn.Parameter(torch.ones(1))\noptimizer = torch.optim.SGD([*net.parameters(), "
            f"scale], lr=0.1)\nfor a, b in loader:{STEP}".replace("net(a)", "net(a) * scale"),
            "outside of the module",
        ),
        (
            f"for epoch in range(3):\n    for a, b in loader:{STEP}".replace(
                "        loss.backward()\n        optimizer.step()",
                "    loss.backward()\n    optimizer.step()",
            ),
            "one update of the last of 7 batches: backward.. and step.. stand behind the loop",
        ),
        ("for a, b in loader:\n    net(a)\n", "ended without training"),
    ],
    ids=[
        "closure",
        "own loss",
        "one epoch",
        "called twice",
        "twice a batch",
        "two losses",
        "a weight of its own",
        "behind the loop",
        "none",
    ],
)
def test_what_cannot_be_followed_is_refused_in_words(
    text: str, words: str, tmp_path: Path, workers: Workers
) -> None:
    with pytest.raises(UsageError, match=words):
        workers("torch").describe_port(script(tmp_path, HEAD + text))


def test_a_loop_alone_is_not_judged_by_a_specification(
    tmp_path: Path, workers: Workers, small_data: Dataset
) -> None:
    data = training_data(
        make_plan(parse_spec({"model": {"layer_sizes": [30, 9, 4]}}), small_data), small_data
    )
    worker = workers("torch")
    target = script(tmp_path, HEAD + LOOP.replace("EPOCHS", "2"))
    worker.describe_port(target)
    with pytest.raises(UsageError, match=f"check ORIGINAL {target}"):
        worker.open_port(target, data=data, image_shape=(4,))


@pytest.mark.parametrize("early", [True, False])
def test_weights_that_are_used_before_the_model_is_called(
    early: bool, tmp_path: Path, workers: Workers
) -> None:
    """They are not yet those of the judged step; torch's own error says nothing of that."""
    penalty = "penalty = net[0].weight.pow(2).sum()"
    parts = [penalty, "out = net(a)"] if early else ["out = net(a)", penalty]
    body = [*parts, "loss = loss_of(out, b) + 0.01 * penalty"]
    lines = ["optimizer.zero_grad()", *body, "loss.backward()", "optimizer.step()"]
    step = "".join(f"\n        {line}" for line in lines)
    loop = f"\nfor epoch in range(3):\n    for a, b in loader:{step}\n"
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + loop))
    worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    worker.pair_open([ROWS], precision="float64")
    job = PairJob(ROWS, 1, (Forced({"0/kernel": np.ones((4, 3))}, {}),))
    if early:
        with pytest.raises(UsageError, match="weights before it calls the model"):
            worker.pair_fit(job)
    else:
        assert np.array_equal(worker.pair_fit(job)[0].before["0/kernel"], np.ones((4, 3)))


# --- Several modules, and loaders that are made anew ----------------------------------------------

TWO = """
encoder, decoder = nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Linear(3, 1)
optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1)
"""

BETWEEN = {
    "nothing": "decoder(encoder(a))",
    "work": "decoder(encoder(a) * 1.0)",
    "a parallel module": "nn.DataParallel(decoder)(encoder(a))",
}


@pytest.mark.parametrize("how", BETWEEN)
def test_modules_that_are_called_behind_each_other_are_one(
    how: str, tmp_path: Path, workers: Workers
) -> None:
    """Only the loop knows what it does between them; then nothing evaluates them."""
    loop = LOOP.replace("EPOCHS", "3").replace("net(a)", BETWEEN[how]).replace("net(x)", "x[:, :1]")
    worker = workers("torch")
    described = worker.describe_port(script(tmp_path, HEAD + TWO + loop))
    assert [layer.kind for layer in described.layers] == ["Linear", "Tanh", "Linear"]
    worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    facts = worker.pair_open([ROWS], precision="float64")
    assert [x.name for x in facts.layers if x.shapes] == ["encoder.0: linear", "decoder: linear"]
    steps = worker.pair_fit(PairJob(ROWS, 2))
    require_own_steps(steps)
    assert isinstance(ROWS.x, np.ndarray)
    if how == "work":
        with pytest.raises(UsageError, match="what is done between encoder and decoder"):
            worker.pair_predict(steps[-1].after, ROWS.x)
    else:
        assert next(iter(worker.pair_predict(steps[-1].after, ROWS.x).values())).shape == (20, 1)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_first_module_that_is_not_trained_belongs_to_the_network(
    quiet: bool, tmp_path: Path, workers: Workers
) -> None:
    frozen = "for p in encoder.parameters():\n    p.requires_grad = False\n"
    head = TWO.replace("*encoder.parameters(), ", "")
    called = "decoder(apply(encoder, a))"
    apply = "def apply(net, a):\n    return net(a)\n"
    apply = f"@torch.no_grad()\n{apply}" if quiet else f"{frozen}{apply}"
    loop = LOOP.replace("EPOCHS", "3").replace("net(a)", called).replace("net(x)", "x[:, :1]")
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + head + apply + loop))
    facts = worker.pair_open([ROWS], precision="float64")
    assert [x.name for x in facts.layers if x.shapes] == ["encoder.0: linear", "decoder: linear"]
    given = np.full((4, 3), 0.5)
    steps = worker.pair_fit(PairJob(ROWS, 1, (Forced({"0/kernel": given}, {}),)))
    assert np.array_equal(steps[0].before["0/kernel"], given)
    assert np.array_equal(steps[0].after["0/kernel"], given)
    assert steps[0].gradients.keys() == {"2/kernel", "2/bias"}


def test_another_module_that_runs_beside_it_is_none_of_its_parts(
    tmp_path: Path, workers: Workers
) -> None:
    """As a teacher, whose results are targets."""
    taught = "teacher = nn.Linear(4, 1)\n"
    loop = LOOP.replace("EPOCHS", "3").replace("net(a), b)", "net(a), teacher(a).detach())")
    worker = workers("torch")
    described = worker.describe_port(script(tmp_path, HEAD + taught + loop))
    assert [layer.kind for layer in described.layers] == ["Linear", "Tanh", "Linear"]


ANEW = f"""
for epoch in range(3):
    parts = {{k: DataLoader(v, batch_size=8) for k, v in data.items()}}
    for a, b in parts["train"]:{STEP}
    for a, b in parts["val"]:
        with torch.no_grad():
            assert len(a) == 5
            print(loss_of(net(a), b))
"""


def test_a_loader_may_be_made_anew_in_each_epoch(tmp_path: Path, workers: Workers) -> None:
    """The same line makes one for validation, which gets its own batches."""
    made = "data = {'train': TensorDataset(x, y), 'val': TensorDataset(x[:5], y[:5])}\n"
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + made + ANEW))
    worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    worker.pair_open([ROWS], precision="float64")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    require_own_steps(steps)


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_a_loop_calls_its_model_with_is_known_for_each_row_once(
    epochs: int, tmp_path: Path, workers: Workers
) -> None:
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + LOOP.replace("EPOCHS", str(epochs))))
    worker.pair_open([ROWS], precision="float64")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    assert isinstance(ROWS.x, np.ndarray)
    given = worker.pair_predict(steps[-1].after, ROWS.x)
    assert given[2].shape == (20, 1)


def test_weights_that_the_module_does_not_know_are_told(tmp_path: Path, workers: Workers) -> None:
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(4, 3)]
        self.out = nn.Linear(3, 1)

    def forward(self, a):
        return self.out(self.hidden[0](a).tanh())

net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
"""
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + text + LOOP.replace("EPOCHS", "2")))
    facts = worker.pair_open([ROWS], precision="float64")
    assert [(x.kind, dict(x.shapes)) for x in facts.unregistered] == [
        ("dense", {"kernel": (4, 3), "bias": (3,)})
    ]


def test_an_experiment_keeps_gradients_until_their_update(tmp_path: Path, workers: Workers) -> None:
    early = LOOP.replace("EPOCHS", "2").replace("        optimizer.zero_grad()\n", "")
    early = early.replace(
        "        optimizer.step()", "        optimizer.zero_grad()\n        optimizer.step()"
    )
    worker = workers("torch")
    worker.describe_port(script(tmp_path, HEAD + early))
    worker.pair_open([ROWS], precision="float64")
    still = worker.pair_fit(PairJob(ROWS, 2))
    assert all(np.array_equal(still[-1].after[n], w) for n, w in still[0].before.items())
    assert any(g.any() for g in still[0].gradients.values())
    require_own_steps(worker.pair_fit(PairJob(ROWS, 2, mends=(Mend(None, "kept"),))))
