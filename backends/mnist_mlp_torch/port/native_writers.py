"""What torch writes by native code, of which Python tells nobody."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from mnist_mlp.ports.journal import is_kept, told_before


@cache
def tell_of_writing() -> None:
    """From now on, tell the journal, if there is one, before `torch.save` writes to a path."""
    if is_kept():
        torch.save = told_before(torch.save, _file)


def _file(_: Any, f: Any, *__: Any, **___: Any) -> Any:
    return f
