"""The installed packages against what this project and they themselves ask for."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mnist_mlp.doctor.finding import Finding, Level
from mnist_mlp.doctor.holes import holes_of

OWN = "mnist-mlp"
FRAMEWORKS = ("keras", "keras-jax", "keras-torch", "torch")
"""Extras whose packages are looked at beside the core's own, unless only some are asked for."""

IMPORT_NAMES = {"pillow": "PIL", "scikit-learn": "sklearn", "tomli-w": "tomli_w"}
"""Import names of the core's packages, where they differ from the package's name."""

IMPORT_LIMIT_S = 60.0


def python_finding() -> Finding:
    """Whether this Python is one that the project supports."""
    asked = metadata(OWN)["Requires-Python"]
    running = platform.python_version()
    text = f"{running} (needs {asked}), {sys.executable}"
    if SpecifierSet(asked).contains(running, prereleases=True):
        return Finding("python", Level.ok, text)
    return Finding("python", Level.broken, text, "make PYTHON=/path/to/python3.12 run")


def package_findings(asked: Collection[str] = ()) -> Iterator[Finding]:
    """The packages of the core, and those of the frameworks.

    With `asked`, only these frameworks are looked at, and all their packages are needed.
    """
    for requirement in requirements():
        yield _finding(requirement)
    for requirement in _of_frameworks(asked):
        if asked or installed(requirement.name):
            yield _finding(requirement)


def _of_frameworks(asked: Collection[str]) -> list[Requirement]:
    extras = [extra for extra in FRAMEWORKS if not asked or extra in asked]
    found: dict[str, Requirement] = {}  # several extras ask for Keras: once is enough
    for extra in extras:
        for requirement in requirements(extra):
            found.setdefault(requirement.name, requirement)
    return list(found.values())


def requirements(extra: str = "") -> list[Requirement]:
    """What this project asks for: its core, or one of its extras."""
    found = [Requirement(line) for line in requires(OWN) or ()]
    return [
        requirement
        for requirement in found
        if _holds(requirement, extra=extra) and not (extra and _holds(requirement))
    ]


def _holds(requirement: Requirement, *, extra: str = "") -> bool:
    """Whether a requirement counts on this machine, for those who want an extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _finding(requirement: Requirement) -> Finding:
    name = requirement.name
    found = installed(name)
    remedy = f"pip install '{name}{requirement.specifier}'"
    if found is None:
        text = f"not installed (needs {requirement.specifier})"
        return Finding(name, Level.broken, text, remedy)
    text = f"{found} (needs {requirement.specifier})"
    holes = holes_of(name, found)
    if holes:
        text += "; " + "; ".join(f"{each.name}: {each.what}" for each in holes)
    fits = requirement.specifier.contains(found, prereleases=True)
    if fits and not holes:
        return Finding(name, Level.ok, text)
    return Finding(name, Level.broken, text, remedy)


def installed(name: str) -> str | None:
    """The installed version of a package; None if there is none, or none that can be read."""
    try:
        found = version(name)
        Version(found)
    except (PackageNotFoundError, InvalidVersion, TypeError):
        return None
    return found


def clash_findings(asked: Collection[str] = ()) -> Iterator[Finding]:
    """Installed packages that do not fit together.

    Each package states which versions of others it needs. A framework that was compiled for other
    versions of NumPy or protobuf crashes or cannot be imported.
    """
    ours = [*requirements(), *_of_frameworks(asked)]
    for name in dict.fromkeys(canonicalize_name(each.name) for each in ours):
        found = installed(name)
        for line in (requires(name) or ()) if found else ():
            needs = Requirement(line)
            if not _holds(needs):
                continue
            other = installed(needs.name)
            if other is None or not needs.specifier.contains(other, prereleases=True):
                yield Finding(
                    name,
                    Level.broken,
                    f"{name} {found} needs {needs.name}{needs.specifier}, but "
                    + (f"{needs.name} {other} is installed" if other else "it is not installed"),
                    f"pip install '{needs.name}{needs.specifier}'",
                )
    if not asked or "torch" in asked:
        yield from _wheels_of_torch()


def _wheels_of_torch() -> Iterator[Finding]:
    """torch and torchvision must come from one index.

    A wheel for the CPU alone says so in its version, as in 2.14.1+cpu. With torch from one index
    and torchvision from another, torchvision's operators are missing: `import lightning` fails.
    """
    torch, torchvision = installed("torch"), installed("torchvision")
    if torch is None or torchvision is None:
        return
    kinds = {Version(torch).local, Version(torchvision).local}
    if len(kinds) > 1:
        yield Finding(
            "torchvision",
            Level.broken,
            f"torch {torch} and torchvision {torchvision} are built for different devices",
            f"pip install --force-reinstall '{OWN}[torch]'",
        )


def import_findings() -> list[Finding]:
    """The packages of the core that cannot be imported, tried in a process of its own."""
    by_module = {
        IMPORT_NAMES.get(requirement.name, requirement.name.replace("-", "_")): requirement
        for requirement in requirements()
        if installed(requirement.name)
    }
    results = _try_imports(list(by_module))
    return [
        Finding(
            by_module[module].name,
            Level.broken,
            f"cannot be imported: {error}",
            f"pip install --force-reinstall {by_module[module].name}",
        )
        for module, error in results.items()
        if error
    ]


def _try_imports(modules: list[str]) -> dict[str, str]:
    """The error of each import, empty where it works; up to the first one that ends the process."""
    command = [sys.executable, "-P", "-m", "mnist_mlp.doctor.imports", *modules]
    end = ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=IMPORT_LIMIT_S, check=False
        )
        output = done.stdout
        if done.returncode:
            end = f"the process ended with exit code {done.returncode}"
    except subprocess.TimeoutExpired as expired:
        # In spite of `text=True`, what was read until then is bytes.
        output = expired.stdout.decode() if isinstance(expired.stdout, bytes) else ""
        end = f"no end within {IMPORT_LIMIT_S:.0f} s"
    results = dict(json.loads(line) for line in output.splitlines())
    for module in modules:
        if module not in results:
            results[module] = end or "no answer"
            break
    return results
