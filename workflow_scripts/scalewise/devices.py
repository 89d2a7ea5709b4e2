"""Devices: one slot is one device. Several jobs on one machine never share one by accident.

Without CUDA the only device is the CPU and nothing is locked: the limit on `gpu` slots does that.
Otherwise a job takes as many lock files as it needs devices, all or none, and holds them while it
lives; the operating system lets them go when it dies, however it dies. A lock bears the physical
device's own id, so it means the same whatever number the device goes by: under Slurm, where every
job may see its device as number 0, each finds its own free; several jobs within one allocation
share out what was allocated.
"""

import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

# Comma-separated names of devices to use in place of those found, as in "cpu,cpu": for tests of
# the allocator, and for leaving a device to somebody else.
DEVICES_VARIABLE = "SCALEWISE_DEVICES"
LOCKS_VARIABLE = "SCALEWISE_LOCKS"
WAIT_SECONDS = 60.0


class NoDevice(Exception):
    """All devices are held by other jobs; the message names them."""


def local_devices() -> list[tuple[str, str]]:
    """(slot, torch device) of every device; the slot names the physical device on this machine."""
    named = os.environ.get(DEVICES_VARIABLE)
    if named:
        names = [name.strip() for name in named.split(",") if name.strip()]
        return [(_slot(name, i), name) for i, name in enumerate(names)]
    import torch

    if not torch.cuda.is_available():
        return []
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [(_slot(name, i), name) for i, name in enumerate(names)]


def _slot(name: str, place: int) -> str:
    """Name of a device's lock: the physical device for CUDA, its place in the list otherwise."""
    if not name.startswith("cuda"):
        return f"{place}-{name.replace(':', '_')}"
    import torch

    number = torch.device(name).index or 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if number < len(visible) and visible[number].strip().startswith("MIG-"):
        return f"cuda_{visible[number].strip().replace('/', '_')}"  # a part of a device
    return f"cuda_{torch.cuda.get_device_properties(number).uuid}"


def _lock_folder() -> Path:
    default = Path(tempfile.gettempdir(), f"scalewise-devices-{os.getuid()}")
    folder = Path(os.environ.get(LOCKS_VARIABLE) or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _try(devices: list[tuple[str, str]], count: int) -> tuple[ExitStack, list[str], list[str]]:
    """Lock `count` free devices; returns the locks, the devices, and who holds the others."""
    stack, mine, others = ExitStack(), [], []
    for place, (slot, device) in enumerate(devices):
        # too few are left: go no further, lest two jobs keep each other from their devices
        if len(mine) == count or len(mine) + len(devices) - place < count:
            break
        file = open(_lock_folder() / f"{slot}.lock", "a+")  # noqa: SIM115 (held by the stack)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            others.append(f"{slot} is held by {file.read().strip() or 'another process'}")
            file.close()
            continue
        stack.callback(file.close)
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        mine.append(device)
    return stack, mine, others


@contextmanager
def hold(count: int, wait: float = WAIT_SECONDS) -> Iterator[list[str]]:
    """Hold `count` devices for this process and yield their torch names, such as ["cuda:1"].

    Raises NoDevice when fewer exist, or when they are not free within `wait` seconds.
    """
    devices = local_devices()
    there = len(devices) or 1  # the CPU
    if not 1 <= count <= there:
        mend = "raise" if count < 1 else "lower"
        raise NoDevice(
            f"this job asks for {count} devices and this machine has {there}: {mend} "
            "resources.gpus_per_job"
        )
    if not devices:
        yield ["cpu"]
        return
    end = time.monotonic() + wait
    while True:
        stack, mine, others = _try(devices, count)
        if len(mine) == count:
            break
        stack.close()
        if time.monotonic() > end:
            raise NoDevice(
                f"no free device within {wait:.0f} s: {', '.join(others)}. End that process, or "
                f"start with --resources gpu={there} or fewer"
            )
        time.sleep(random.uniform(0.1, 0.3))  # two jobs that wait must not stay in step
    with stack:
        yield mine
