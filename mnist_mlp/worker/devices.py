"""Check that several devices can train one run here, and find out who started their processes.

One command starts them all, unless a launcher (torchrun, SLURM's `srun`) has started this command
several times. Then each command is one rank. Only the first writes the run folder; the others
compute their share. Lightning reads the same variables, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mnist_mlp.contract import Capabilities, Devices, Environment
from mnist_mlp.errors import MnistMlpError, SetupError, UsageError
from mnist_mlp.run.machine import usable_cores

INTERACTIVE = ("bash", "interactive")
"""Names of SLURM's jobs in which commands are typed, and so are not started by `srun`."""

MEETING_PLACE = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
"""Variables that each of several machines needs if no launcher sets them."""


@dataclass(frozen=True)
class Launch:
    """A launcher's processes: its name, how many there are, and which one this is, from 0."""

    by: str
    processes: int
    rank: int


def launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Who started this process as one of several; None if nobody did.

    torchrun goes first, since it can be used within a job of SLURM.
    """
    get = environment.get
    if get("TORCHELASTIC_RUN_ID") is not None:
        return Launch("torchrun", int(get("WORLD_SIZE", "1")), int(get("RANK", "0")))
    if get("SLURM_NTASKS") is not None and get("SLURM_JOB_NAME") not in INTERACTIVE:
        return Launch("SLURM", int(get("SLURM_NTASKS", "1")), int(get("SLURM_PROCID", "0")))
    return None


def is_first(devices: Devices, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this command writes the run folder, rather than only computing its share.

    Raises
    ------
    UsageError
        A launcher started another number of processes than there are devices, or machines are to
        work together that no launcher has brought together.
    """
    if not devices.shared:
        return True
    asked = f"--devices {devices.count} --num-nodes {devices.nodes}"
    launched = launch(environment)
    if launched is not None:
        if launched.processes != devices.ranks:
            raise UsageError(
                f"{asked}: needs {devices.ranks} processes, but {launched.by} started "
                f"{launched.processes}: it must start one for each device"
            )
        return launched.rank == 0
    if devices.nodes == 1:
        return True
    missing = [name for name in MEETING_PLACE if name not in environment]
    if missing:
        raise UsageError(
            f"{asked}: start this command on each machine with torchrun or srun, or set "
            f"{', '.join(missing)} there"
        )
    return environment["NODE_RANK"] == "0"


def devices_refusal(
    devices: Devices, *, label: str, capabilities: Capabilities
) -> MnistMlpError | None:
    """The error that says why a backend cannot share its batches; None if it can."""
    if not devices.shared or capabilities.devices:
        return None
    asked = f"--devices {devices.count}" if devices.ranks > 1 else f"--strategy {devices.strategy}"
    return UsageError(
        f"{asked}: backend {label!r} trains on one device; use --backend torch, which trains on "
        f"several, or leave the option out"
    )


def count_refusal(
    devices: Devices, *, accelerator: str, environment: Environment
) -> MnistMlpError | None:
    """The error that says that this machine has too few devices; None if it has enough.

    Two processes are always allowed on a CPU. More than there are cores would only wait for one
    another, and a stranger's run folder could start any number of them.
    """
    if accelerator == "gpu":
        here, what = len(environment.gpus), "GPUs"
    else:
        here, what = max(2, usable_cores()), "processes (one for each core, at least 2)"
    if devices.count <= here:
        return None
    return SetupError(f"--devices {devices.count}: this machine can run {here} {what}; lower it")
