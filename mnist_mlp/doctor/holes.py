"""Published vulnerabilities of the frameworks that concern loading a model's file.

The list is short on purpose. It explains why old versions are refused; it is no substitute for a
scanner such as pip-audit.
"""

from __future__ import annotations

from typing import NamedTuple

from packaging.version import Version


class Hole(NamedTuple):
    """A vulnerability: all versions before `fixed` have it."""

    package: str
    fixed: str
    name: str
    what: str


HOLES = (
    Hole("keras", "3.9.0", "CVE-2025-1550", "loading a .keras file runs its author's code"),
    Hole("keras", "3.11.3", "CVE-2025-9905", "loading an .h5 file ignores safe_mode"),
    Hole("keras", "3.13.2", "CVE-2026-1462", "a .keras file passes safe_mode and runs code"),
    Hole("torch", "2.6.0", "CVE-2025-32434", "torch.load runs code despite weights_only"),
    Hole("torch", "2.10.0", "CVE-2026-24747", "torch.load corrupts memory despite weights_only"),
    Hole("lightning", "2.6.6", "CVE-2026-58659", "loading a checkpoint runs its author's code"),
)


def holes_of(package: str, version: str) -> list[Hole]:
    """The known holes of an installed version."""
    installed = Version(version)
    return [hole for hole in HOLES if hole.package == package and installed < Version(hole.fixed)]
