"""A framework's complaint that memory ran out, told in one way for all of them.

By the name of the exception and by its text, so that no framework has to be known here. The texts
are those of torch 2.14 (CUDA and CPU), TensorFlow 2.21 (its allocators and XLA) and NumPy 2.4.
"""

from __future__ import annotations

import re
from math import prod

_NAMES = {"OutOfMemoryError", "ResourceExhaustedError", "MemoryError"}
_TEXTS = ("can't allocate memory", "out of memory", "resource_exhausted", "oom when allocating")

_AMOUNT = re.compile(r"allocat\w*\D{0,30}?([\d.]+) ?([KMGTP]i?B|bytes)", flags=re.IGNORECASE)
_TENSOR = re.compile(r"allocating tensor with shape\[([\d,]*)\] and type (\w+)")
_BYTES = {"double": 8, "int64": 8, "float": 4, "int32": 4, "half": 2, "bfloat16": 2, "uint8": 1}
_POWERS = "KMGTP"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of any framework says that memory ran out."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _NAMES) or any(text in str(error).lower() for text in _TEXTS)


def asked_bytes(text: str) -> int | None:
    """How many bytes were asked for, by the text of the complaint; None where it does not tell.

    A text that says GiB is rounded, and so is the answer.
    """
    if tensor := _TENSOR.search(text):
        shape, kind = tensor.groups()
        size = _BYTES.get(kind)
        return size and size * prod(int(part) for part in shape.split(",") if part)
    if amount := _AMOUNT.search(text):
        number, unit = amount.groups()
        if unit.lower() == "bytes":
            return int(float(number))
        base = 1024 if unit[1] == "i" else 1000
        return round(float(number) * base ** (_POWERS.index(unit[0].upper()) + 1))
    return None


def memory_words(error: BaseException, *, backend: str, device: str, batch_size: int | None) -> str:
    """What ran out, where, in batches of how many rows, how much was asked for, and what to do."""
    asked = asked_bytes(str(error))
    amount = "more bytes than are free" if asked is None else f"{asked:,} bytes, more than are free"
    batches = "" if batch_size is None else f" in batches of {batch_size:,} rows"
    return (
        f"out of memory on the {device}: backend {backend!r}{batches} asked for {amount}; "
        f"lower --batch-size or model.layer_sizes"
    )
