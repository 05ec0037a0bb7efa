"""Wrong command lines."""

from __future__ import annotations

from pathlib import Path

from torture.broken import Broken
from torture.case import ANSWERED, Try
from torture.world import SIZES

LONG = "x" * 100_000
NUMPY = ("train", "--backend", "numpy", "--set", SIZES, "--epochs", "1", "--progress", "none")

REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown command": (("trian",), "trian"),
    "an unknown command of 100 kB": ((LONG,), ""),
    "an unknown command with escape codes": (("\x1b[2J",), ""),
    "an unknown option": (("train", "--epoch", "3"), "--epoch"),
    "an unknown option of 100 kB": (("train", f"--{LONG}"), ""),
    "an option without a value": (("train", "--epochs"), "--epochs"),
    "an option that is no number": (("train", "--epochs", "three"), "--epochs"),
    "an option of 5,000 digits": (("train", "--epochs", "9" * 5000, "--dry-run"), "epochs"),
    "a seed of 5,000 digits": (("train", "--seed", "9" * 5000, "--dry-run"), "seed"),
    "epochs -1": (("train", "--epochs", "-1", "--dry-run"), "--epochs"),
    "a rate of NaN": (("train", "--learning-rate", "nan", "--dry-run"), "--learning-rate"),
    "a rate of infinity": (("train", "--learning-rate", "inf", "--dry-run"), "--learning-rate"),
    "threads 0": (("train", "--threads", "0"), "--threads"),
    "threads 10^9": (("train", "--threads", "1000000000"), "--threads"),
    "an argument too many": (("evaluate", "run", "run"), ""),
    "an argument too few": (("evaluate",), ""),
    "an unknown accelerator": (("train", "--accelerator", "tpu"), "tpu"),
    "an unknown data set": (("train", "--dataset", "cifar"), "cifar"),
    "an unknown precision": (("train", "--precision", "float8"), "float8"),
    "an unknown progress": (("train", "--progress", "loud"), "loud"),
    "an unknown log": (("train", "--log", "wandb"), "wandb"),
    "an unknown backend": (("train", "--backend", "kears"), "kears"),
    "a backend of 100 kB": (("train", "--backend", LONG), ""),
    "a backend with escape codes": (("train", "--backend", "\x1b[2Jnumpy"), ""),
    "a backend that is empty": (("train", "--backend", ""), ""),
    "a backend without a class": (("train", "--backend", "os:"), "os"),
    "a backend without a module": (("train", "--backend", ":Class"), "Class"),
    "a backend that is no class": ((*NUMPY, "--backend", "os:path", "--out", "new"), "os"),
    "a backend that is a number": ((*NUMPY, "--backend", "sys:maxsize", "--out", "new"), "sys"),
    "a backend in a missing module": (
        (*NUMPY, "--backend", "no_such:Class", "--out", "new"), "no_such"
    ),
    "a backend with a path": (("train", "--backend", "../x:Class", "--out", "new"), ".."),
    "--set without a value": (("train", "--set", "seed"), "seed"),
    "--set with an unknown key": (("train", "--set", "sede=1"), "sede"),
    "--set with an unknown key of 100 kB": (("train", "--set", f"{LONG}=1"), "unknown key"),
    "--set with escape codes": (("train", "--set", "\x1b[2J=1"), ""),
    "--set with a value that is no TOML": (("train", "--set", "seed=[1"), "seed"),
    "--set with 100,000 brackets": (("train", "--set", "seed=" + "[" * 100_000), "seed"),
    "--set with a line break": (("train", "--set", "seed=1\nname='x'", "--dry-run"), "seed"),
    "--set of a whole section": (("train", "--set", "model={}"), "model"),
    "--set of nothing": (("train", "--set", ""), "--set"),
    "a config that is missing": (("train", "--config", "none.toml"), "none.toml"),
    "a config that is a folder": (("train", "--config", "run"), "run"),
    "a config of 100 kB": (("train", "--config", LONG), ""),
    "an output that is a file": ((*NUMPY, "--out", "seven.png"), "seven.png"),
    "an output below a file": ((*NUMPY, "--out", "seven.png/new"), "seven.png"),
    "an output that is the user's": ((*NUMPY, "--out", "precious"), "precious"),
    "an output that is the user's, overwritten": (
        (*NUMPY, "--out", "precious", "--overwrite"), "precious",
    ),
    "an output that is a run": ((*NUMPY, "--out", "run"), "run"),
    "an output of 300 characters": ((*NUMPY, "--out", "n" * 300), "n" * 50),
    "an output of 100 kB": ((*NUMPY, "--out", LONG), ""),
    "an output in /proc": ((*NUMPY, "--out", "/proc/none/run"), "/proc"),
    "an output that is /dev/full": ((*NUMPY, "--out", "/dev/full"), "/dev/full"),
    "an output that is empty": ((*NUMPY, "--out", ""), ""),
    "the data that are missing": ((*NUMPY, "--out", "new", "--data-dir", "none"), "none"),
    "the data that are a run": ((*NUMPY, "--out", "new", "--data-dir", "run"), "run"),
    "the data of 100 kB": (("data", "--data-dir", LONG), ""),
    "digits with a folder": (("data", "--dataset", "digits", "--data-dir", "data"), "--data-dir"),
    "MNIST that is another": (("data", "--dataset", "mnist"), "data"),
    "a mirror that is a file": (("data", "--mirror", "file:///etc/passwd"), "file:"),
    "a mirror that is empty": (("data", "--mirror", ""), "mirror"),
    "a mirror with escape codes": (("data", "--mirror", "ftp://\x1b[2J/"), "mirror"),
    "a mirror in brackets": (("data", "--mirror", "http://[::1/"), "[::1"),
    "an unknown source": (("data", "--source", "ftp"), "ftp"),
    "a source and a folder": (("data", "--source", "keras", "--data-dir", "data"), "--source"),
    "compare one side": (("compare", "numpy"), "compare"),
    "compare an unknown side": (("compare", "numpy", "toch"), "toch"),
    "compare a side of 100 kB": (("compare", "numpy", LONG), ""),
    "compare a missing run": (("compare", "run/", "none/"), "none"),
    "compare with a trusted path": (
        ("compare", "run/", "twin/", "--trust-backend", "../x.py"), "../x.py"
    ),
    "explain nothing": (("explain",), "--list"),
    "explain an unknown cause": (("explain", "magic"), "magic"),
    "explain 100 kB": (("explain", LONG), ""),
    "explain escape codes": (("explain", "\x1b[2J"), ""),
    "explain both": (("explain", "softmax_twice", "--list"), "--list"),
    "report over the user's file": (
        ("report", "run", "--out", "precious/thesis.txt", "--overwrite"), "thesis.txt",
    ),
    "report over the record": (
        ("report", "run", "--out", "run/run.json", "--overwrite"), "run.json"
    ),
    "report into a folder": (("report", "run", "--out", "precious"), "precious"),
    "report of a comparison that is missing": (
        ("report", "run", "twin", "--compare", "none.json", "--out", "p.html"), "none.json",
    ),
    "report of a comparison that is a run": (
        ("report", "run", "twin", "--compare", "run/run.json", "--out", "p.html"), "run.json",
    ),
    "report of one run with a comparison": (("report", "run", "--compare", "x"), "--compare"),
    "report into a missing disk": (("report", "run", "--out", "/proc/none/p.html"), "/proc"),
    "export without a format": (("export", "run"), "--to"),
    "export to an unknown format": (("export", "run", "--to", "pickle"), "pickle"),
    "export over a file": (
        ("export", "run", "--to", "safetensors", "--out", "seven.png"), "seven.png"
    ),
    "import without a layout": (("import", "run/weights.safetensors", "--out", "new"), "--layout"),
    "import into the user's": (
        ("import", "run/weights.safetensors", "--layout", "keras", "--out", "precious",
         "--set", SIZES), "precious",
    ),
    "import the other layout": (
        ("import", "run/weights.safetensors", "--layout", "torch", "--out", "new", "--set", SIZES),
        "--layout",
    ),
    "predict without a picture": (("predict", "run"), ""),
    "predict with a run that is missing": (("predict", "none", "seven.png"), "none"),
    "check without a port": (("check",), ""),
    "check without a name": (("check", "seven.png"), "seven.png"),
    "check a missing file": (("check", "none.py:Port"), "none.py"),
    "check a folder": (("check", "run:Port"), "run"),
    "bench without a backend": (("bench", "--backends", ""), ""),
    "bench of an unknown backend": (("bench", "--backends", "toch"), "toch"),
    "bench show what is missing": (("bench", "show", "none"), "none"),
    "bench show a run": (("bench", "show", "run"), "run"),
    "bench compare a run": (("bench", "compare", "run/run.json", "run/run.json"), "run"),
    "a lone surrogate": (("evaluate", "run\udcff"), ""),
    "a name of NUL": (("evaluate", "run\x00"), ""),
    "a name with a line break": (("evaluate", "ru\nn"), ""),
}  # fmt: skip

ANSWERS: dict[str, tuple[str, ...]] = {
    "no word at all": (),
    "a mirror that is not asked": ("data", "--mirror", "http://h:99999/"),
    "an option twice": ("train", "--seed", "1", "--seed", "2", "--dry-run"),
    "two dashes": ("evaluate", "--", "run"),
    "help in the middle": ("train", "--epochs", "3", "--help"),
    "a name of two dots": ("evaluate", "run/../run"),
    "the same run twice": ("compare", "run/", "run/", "--static"),
    "explain everything": ("explain", "--list", "--json"),
}
"""Odd command lines that may be answered."""


def cases() -> list[Broken]:
    """All of them."""

    def nothing(folder: Path) -> None:
        """The command line alone is wrong."""

    return [
        *(
            Broken(name, nothing, [Try(words, names=names), Try((*words, "--json"), names=names)])
            for name, (words, names) in REFUSED.items()
        ),
        *(Broken(name, nothing, [Try(words, codes=ANSWERED)]) for name, words in ANSWERS.items()),
    ]
