"""axe-core, an accessibility checker, from npm: run inside the page."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from browser import MissingError, Page

_RUN = """
axe.run().then(result => result.violations.map(rule =>
  `${rule.id}: ${rule.help} in ` + rule.nodes.slice(0, 3).map(n => n.html.slice(0, 120)).join(" ")
))
"""


class Axe:
    """The checker, installed into a folder; `MissingError` where npm or its registry is missing."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("npm"):
            raise MissingError("no npm here; on Debian: apt-get install npm")
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder))
        done = subprocess.run(
            ["npm", "install", *options, "axe-core@4"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MissingError(f"npm install axe-core failed: {done.stderr.strip()[-300:]}")
        package = folder / "node_modules" / "axe-core"
        self.version = json.loads((package / "package.json").read_text())["version"]
        self._source = (package / "axe.min.js").read_text(encoding="utf-8")

    def violations(self, page: Page) -> list[str]:
        """What it finds on the page that is open, a line a rule."""
        page.evaluate(f"{self._source}; 0")
        found: list[str] = page.evaluate(_RUN)
        return found
