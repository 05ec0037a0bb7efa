"""The system's Chromium, driven by Playwright, with axe-core run inside the page.

Playwright would download a browser of its own; the one on PATH is used instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class MissingError(Exception):
    """Something this machine doesn't have, with the command that installs it."""


def find_chromium() -> str:
    """The path of the browser on PATH."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise MissingError(
        f"no Chromium on PATH (looked for {', '.join(NAMES)}); on Debian: apt-get install chromium"
    )


def packages() -> tuple[Any, Any]:
    """`sync_playwright` and an `Axe`, from the packages of the extra `report-check`."""
    try:
        from axe_playwright_python.sync_playwright import Axe
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingError(
            f"{error.name} is not installed; run: pip install -e '.[report-check]'"
        ) from error
    return sync_playwright, Axe()


class View:
    """A page in one window size and colour scheme, with all that it requested and complained of."""

    def __init__(self, page: Any, axe: Any) -> None:
        self.page, self._axe = page, axe
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text[:300]))
        page.on("pageerror", lambda error: self.complaints.append(str(error)[:300]))

    def violations(self) -> list[str]:
        """What axe-core finds on the page, a line a rule."""
        return [
            f"{rule['id']}: {rule['help']} in "
            + " ".join(node["html"][:120] for node in rule["nodes"][:3])
            for rule in self._axe.run(self.page).response["violations"]
        ]


class Browser:
    """A headless Chromium that opens files."""

    def __init__(self, browser: Any, axe: Any) -> None:
        self._browser, self._axe = browser, axe

    @contextmanager
    def view(self, path: Path, *, width: int, height: int, scheme: str) -> Iterator[View]:
        """Load a file in a window of this size (px), in the `light` or `dark` scheme."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            is_mobile=width < 600,
        )
        try:
            view = View(context.new_page(), self._axe)
            view.page.goto(path.resolve().as_uri(), wait_until="load")
            yield view
        finally:
            context.close()


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser with an empty profile, closed afterwards; `MissingError` if there is none."""
    path = find_chromium()
    sync_playwright, axe = packages()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield Browser(browser, axe)
        finally:
            browser.close()
