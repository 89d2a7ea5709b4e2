"""Devices: one slot is one device. Several jobs on one machine never share one by accident.

Without CUDA the only device is the CPU and nothing is locked: the limit on `gpu` slots does that.
Where a scheduler such as Slurm gave this job its devices, all visible ones are its own. Otherwise a
job takes as many lock files as it needs devices, all or none, and holds them while it lives; the
operating system lets them go when it dies, however it dies.
"""

import fcntl
import json
import os
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
        return [(f"{i}-{name.replace(':', '_')}", name) for i, name in enumerate(names)]
    import torch

    if not torch.cuda.is_available():
        return []
    count = torch.cuda.device_count()
    visible = [v for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    ids = visible if len(visible) == count else [str(i) for i in range(count)]
    return [(f"cuda_{name.strip()}", f"cuda:{i}") for i, name in enumerate(ids)]


def _lock_folder() -> Path:
    default = Path(tempfile.gettempdir(), f"scalewise-devices-{os.getuid()}")
    folder = Path(os.environ.get(LOCKS_VARIABLE) or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _try(devices: list[tuple[str, str]], count: int) -> tuple[ExitStack, list[str], list[str]]:
    """Lock `count` free devices; returns the locks, the devices, and who holds the others."""
    stack, mine, others = ExitStack(), [], []
    for slot, device in devices:
        if len(mine) == count:
            break
        file = open(_lock_folder() / f"{slot}.lock", "a+")  # noqa: SIM115 (held by the stack)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            others.append(f"{slot} by {file.read().strip() or 'another process'}")
            file.close()
            continue
        stack.callback(file.close)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid()}))
        file.flush()
        mine.append(device)
    return stack, mine, others


@contextmanager
def hold(count: int, wait: float = WAIT_SECONDS) -> Iterator[list[str]]:
    """Hold `count` devices for this process and yield their torch names, such as ["cuda:1"].

    Raises NoDevice when fewer exist, or when they are not free within `wait` seconds.
    """
    devices = local_devices()
    if not devices:
        yield ["cpu"]
        return
    if "SLURM_JOB_ID" in os.environ and DEVICES_VARIABLE not in os.environ:
        yield [device for _, device in devices][:count]
        return
    if count > len(devices):
        raise NoDevice(
            f"this job asks for {count} devices and this machine has {len(devices)}: lower "
            "resources.gpus_per_job"
        )
    end = time.monotonic() + wait
    while True:
        stack, mine, others = _try(devices, count)
        if len(mine) == count:
            break
        stack.close()
        if time.monotonic() > end:
            raise NoDevice(
                f"no free device within {wait:.0f} s: {', '.join(others)}. End that process, or "
                f"start with --resources gpu={len(devices)} or fewer"
            )
        time.sleep(0.2)
    with stack:
        yield mine
