"""The report in a real browser: `make report-check`.

Pages of small runs are opened in headless Chromium at desktop and phone widths, light and dark.
Each must stay silent on the console, request nothing but itself, please axe-core (an accessibility
checker), fit the width, and show verdict, accuracies and figure on the first screenful. A page with
planted faults shows that the checks see them.

    python tests/report_check              # about a minute
    python tests/report_check --renew      # docs/screenshots anew, from tutorial runs: minutes more

It needs the extra `report-check` (Playwright, and axe-core within axe-playwright-python) and a
Chromium on PATH. If one of them is missing, it says how to install it and ends with exit code 3.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import Browser, MissingError, View, opened
from screenshots import SIZES, renew, shot

ROOT = Path(__file__).parents[2]
FAULTY = ROOT / "tests" / "faulty"
LARGEST, SLOWEST_S = 3_000_000, 5.0
TINY = ("--config", str(ROOT / "configs" / "tiny.toml"), "--dataset", "digits")

FAULTS = """
<p style="color: #ccc; background: #fff">too pale to read</p><img src="http://127.0.0.1:9/x.png">
<script>console.error("planted")</script><div style="width: 3000px">wide</div>
"""


def command(*words: str, folder: Path, allowed: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Run `python -m mnist_mlp`; wall and processor seconds."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends"), str(FAULTY)])
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mnist_mlp", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in allowed:
        sys.exit(f"mnist_mlp {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used


def pages(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Reports of runs that agree, of runs that don't, and of one run; and what is wrong so far."""
    train = ("compare", *TINY, "--progress", "none")
    command(*train, "numpy", "numpy", "--out", "same", folder=folder)
    faulty = "faulty_backends:TorchDefaultsBackend"
    command(*train, "numpy", faulty, "--out", "other", folder=folder, allowed=(1,))
    made, problems = {}, []
    for name, runs in (
        ("identical", ("same/numpy", "same/numpy-2")),
        ("different", ("other/numpy", "other/torchdefaultsbackend")),
        ("one run", ("same/numpy",)),
    ):
        made[name] = folder / f"{name.replace(' ', '-')}.html"
        wall, used = command("report", *runs, "--out", made[name].name, folder=folder)
        size = made[name].stat().st_size
        print(f"{name}: {size:,} bytes, {wall:.1f} s ({used:.1f} s of processor time)")
        if size > LARGEST or used > SLOWEST_S:
            problems.append(f"{name}: at most {LARGEST:,} bytes and {SLOWEST_S:.0f} s are allowed")
    return made, problems


def problems_of(browser: Browser, path: Path) -> list[str]:
    """Everything that is wrong with a page, in all sizes and schemes."""
    found = []
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            where = f"{path.stem}, {size}, {scheme}"
            with browser.view(path, width=width, height=height, scheme=scheme) as view:
                told = _looks(view, width=width, height=height)
                told += [f"axe: {text}" for text in view.violations()]
                if len(shot(view)) < 5_000:
                    told.append("the screenshot is empty")
                told += [
                    f"requests {url}"
                    for url in view.requests
                    if url != path.resolve().as_uri() and not url.startswith("data:")
                ]
                told += [f"console: {text}" for text in view.complaints]
                if not view.page.pdf(format="A4").startswith(b"%PDF"):
                    told.append("does not print")
            found += [f"{where}: {text}" for text in told]
    return found


def _looks(view: View, *, width: int, height: int) -> list[str]:
    found = []
    wide = view.page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        found.append(f"{wide} px wide in a window of {width}")
    for part in ("h1", ".accuracies", ".hero svg"):
        box = f"document.querySelector('{part}')?.getBoundingClientRect().bottom"
        bottom = view.page.evaluate(box)
        if bottom is None or bottom > height:
            found.append(f"{part} ends at {bottom}, below the first screenful of {height} px")
    return found


def planted(browser: Browser, path: Path) -> list[str]:
    """What the checks overlook on a page with a fault of each kind."""
    content = path.read_text(encoding="utf-8")
    start = content.index("<meta http-equiv")
    content = content[:start] + content[content.index("\n", start) :]
    bad = path.with_name("planted.html")
    bad.write_text(content.replace("</main>", f"{FAULTS}</main>"), encoding="utf-8")
    told = "\n".join(problems_of(browser, bad))
    signs = ["requests http://127.0.0.1:9/x.png", "planted", "px wide in a window of 390"]
    signs += ["axe: color-contrast", "axe: image-alt"]
    return [f"the planted fault {sign!r} was not seen" for sign in signs if sign not in told]


def main() -> int:
    """Check, print, and answer with an exit code."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--renew", action="store_true", help="write docs/screenshots anew")
    chosen = options.parse_args()
    try:
        with tempfile.TemporaryDirectory() as name, opened() as browser:
            folder = Path(name)
            made, problems = pages(folder)
            for path in made.values():
                problems += problems_of(browser, path)
            problems += planted(browser, made["identical"])
            if chosen.renew:
                renew(browser, ROOT / "docs" / "screenshots", folder, command)
    except MissingError as error:
        print(f"not checked: {error}")
        return 3
    clean = f"{len(made)} pages in {2 * len(SIZES)} views: clean; every planted fault was seen"
    print("\n".join(dict.fromkeys(problems)) or clean)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
