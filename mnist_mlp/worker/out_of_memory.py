"""Recognise out-of-memory errors of any framework, and give them all the same message.

They are recognised by the name and the text of the exception, so that no framework is imported
here. The texts are those of torch 2.14 (CUDA and CPU), TensorFlow 2.21 (its allocators and XLA) and
NumPy 2.4.
"""

from __future__ import annotations

import re
from math import prod

_NAMES = {"OutOfMemoryError", "ResourceExhaustedError", "MemoryError"}
_TEXTS = ("can't allocate memory", "out of memory", "resource_exhausted", "oom when allocating")

# torch: "Tried to allocate 2.00 GiB"; "you tried to allocate 8589934592 bytes".
# TensorFlow: "OOM when allocating tensor with shape[4096,65536] and type float".
_AMOUNT = re.compile(r"allocat\w*\D{0,30}?([\d.]+) ?([KMGTP]i?B|bytes)", flags=re.IGNORECASE)
_TENSOR = re.compile(r"allocating tensor with shape\[([\d,]*)\] and type (\w+)")
_BYTES = {"double": 8, "int64": 8, "float": 4, "int32": 4, "half": 2, "bfloat16": 2, "uint8": 1}
_POWERS = "KMGTP"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of any framework, says that memory ran out."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _NAMES) or any(text in str(error).lower() for text in _TEXTS)


def asked_bytes(text: str) -> int | None:
    """The number of bytes that could not be allocated, or None if the text does not say it.

    A text in GiB is rounded, so the result is, too.
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
    """The message for the user: device, batch size, requested bytes, and what to do."""
    asked = asked_bytes(str(error))
    amount = "more memory than is free" if asked is None else f"{asked:,} bytes, more than are free"
    batches = "" if batch_size is None else f" in batches of {batch_size:,} rows"
    return (
        f"out of memory on the {device}: backend {backend!r}{batches} asked for {amount}; "
        f"lower --batch-size or model.layer_sizes"
    )
