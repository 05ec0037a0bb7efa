"""Everything that the doctor looks at, in the order in which things depend on each other.

Packages may be broken here, so only the standard library and `packaging` are imported first. The
rest, and the frameworks, are imported only where the packages of the core work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata

from mnist_mlp.doctor import machine, packages, places
from mnist_mlp.doctor.finding import Finding, Level


def diagnose(asked: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield all findings.

    Parameters
    ----------
    asked : sequence of str
        Backends that are needed: they are broken if they are not installed. By default all
        registered backends are asked, and none is needed.
    """
    try:
        metadata(packages.OWN)
    except PackageNotFoundError:
        yield Finding(packages.OWN, Level.broken, "is not installed", "pip install -e '.[all]'")
        return
    yield packages.python_finding()
    found = [*packages.package_findings(asked), *packages.clash_findings(asked)]
    broken_imports = packages.import_findings()
    yield from (*found, *broken_imports)
    yield from filter(
        None,
        (
            machine.cores_finding(),
            machine.threads_finding(),
            machine.memory_finding(),
            machine.avx_finding(),
        ),
    )
    if broken_imports:
        yield Finding("backends", Level.note, "not asked: repair the packages above first")
        return
    from mnist_mlp.data.cache import cache_dir
    from mnist_mlp.doctor.frameworks import backend_findings

    yield from places.place_findings(cache_dir())
    yield places.data_finding(cache_dir())
    yield from backend_findings(asked)
