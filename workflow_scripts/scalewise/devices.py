"""Devices: one slot is one device. Several jobs on one machine never share one by accident.

Without CUDA the only device is the CPU and nothing is locked: the limit on `gpu` slots does that.
Otherwise a job takes as many lock files as it needs devices, all or none, and holds them while it
lives; the operating system lets them go when it dies, however it dies. A lock bears the physical
device's own id, so it means the same whatever number the device goes by: under Slurm, where every
job may see its device as number 0, each finds its own free; several jobs within one allocation
share out what was allocated.
"""

import errno
import fcntl
import os
import random
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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


# One folder for all users of a machine: a device that one of them holds is held for the others too.
# Fixed, since each of them may have a TMPDIR of their own.
SHARED_FOLDER = Path("/tmp/scalewise-devices")


@contextmanager
def _for_everybody() -> Iterator[None]:
    """What is made in the block has the access rights that are asked for, from the first moment."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def _unfit(path: Path, what: str) -> NoDevice:
    return NoDevice(
        f"{path}: {what}: have its owner remove it, or name a folder of your own in "
        f"${LOCKS_VARIABLE}"
    )


def _lock_folder() -> Path:
    """The folder of the lock files: anybody may make files in it, and nobody may remove another
    user's (the sticky bit, as of /tmp).

    Raises NoDevice where it is something else: a link in its place could lead anywhere.
    """
    own = os.environ.get(LOCKS_VARIABLE)
    try:
        if own:
            Path(own).mkdir(parents=True, exist_ok=True)
            return Path(own)
        with suppress(FileExistsError), _for_everybody():
            os.mkdir(SHARED_FOLDER, 0o1777)
        mode = os.lstat(SHARED_FOLDER).st_mode
    except OSError as error:
        raise _unfit(
            Path(own or SHARED_FOLDER), f"no folder for locks ({error.strerror})"
        ) from None
    if not stat.S_ISDIR(mode) or mode & 0o1777 != 0o1777:
        raise _unfit(SHARED_FOLDER, "not a folder that all users of this machine can share safely")
    return SHARED_FOLDER


def _open_lock(path: Path) -> int:
    """Descriptor of a lock file, which any user can open; made where it is not there.

    No link is followed, neither symbolic nor hard: what is written into it cannot end up in a file
    from elsewhere. Raises NoDevice for what is no lock file.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # never O_CREAT alone: in such a folder Linux may deny it for a file of another user
        try:
            with _for_everybody():
                file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            file = os.open(path, flags)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(file)
            raise OSError(errno.ELOOP, "a link, or no ordinary file")
    except OSError as error:
        raise _unfit(path, f"no lock file ({error.strerror})") from None
    return file


def _try(devices: list[tuple[str, str]], count: int) -> tuple[ExitStack, list[str], list[str]]:
    """Lock `count` free devices; returns the locks, the devices, and who holds the others."""
    stack, mine, others = ExitStack(), [], []
    for place, (slot, device) in enumerate(devices):
        # too few are left: go no further, lest two jobs keep each other from their devices
        if len(mine) == count or len(mine) + len(devices) - place < count:
            break
        file = _open_lock(_lock_folder() / f"{slot}.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 100, 0).decode("ascii", "replace")
            others.append(f"{slot} is held by {holder if holder.isprintable() else '?'}")
            os.close(file)
            continue
        if not os.fstat(file).st_nlink:  # removed meanwhile: another job would lock a new one
            others.append(f"{slot} had its lock file removed")
            os.close(file)
            continue
        stack.callback(os.close, file)
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} of user {os.getuid()}".encode(), 0)
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
