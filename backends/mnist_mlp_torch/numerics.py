"""What a process of torch must have set before it computes."""

from __future__ import annotations

import torch


def set_numerics(threads: int) -> None:
    """Set the number of CPU threads, and full float32 precision: no TF32."""
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # torch raises an error if it is set twice
        torch.set_num_interop_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
