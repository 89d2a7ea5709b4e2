"""Where a stage works while it is not finished, and the lock that keeps a second process out.

The lock, `results/state/<stage>-<key>/lock`, is held while the stage's process lives, and the
system lets go of it however that ends: after a run was killed, its jobs may live on.
"""

import os
import shutil
import socket
from pathlib import Path
from typing import Self, TextIO

from scalewise import file_lock
from scalewise.errors import UserError


class StageInUse(UserError):
    """Another process works on this stage; the message names it."""


def state_folder(stage: str, key: str) -> Path:
    """Where the state of a stage lies."""
    return Path("results", "state", f"{stage}-{key}")


def holder_of(folder: Path) -> str | None:
    """Who works on the stage of this state folder: "process N", on which machine where it is not
    this one; None where nobody does."""
    try:
        with open(folder / "lock", encoding="utf-8", errors="replace") as lock:
            return f"process {_holder(lock.read())}" if file_lock.is_held(lock) else None
    except OSError:
        return None


def _holder(text: str) -> str:
    """The process id in a lock file, with its machine where that is another one."""
    pid, _, host = text.strip().partition(" on ")
    return f"{pid} on {host}" if host not in ("", socket.gethostname()) else pid or "unknown"


class StageLock:
    """The lock on a stage's folder. Use as a context manager; whoever holds it may enter it again.

    At the end a folder without a saved state is removed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock: TextIO | None = None
        self._entered = 0

    def __enter__(self) -> Self:
        self._entered += 1
        if self._entered > 1:
            return self
        try:
            while self._lock is None:
                self._lock = self._locked()
        except BaseException:
            self._entered = 0
            raise
        self._removed = False
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()} on {socket.gethostname()}")
        self._lock.flush()
        for left in self.folder.glob("*.tmp"):  # by a process that was killed while it saved
            left.unlink(missing_ok=True)
        return self

    def _locked(self) -> TextIO | None:
        """The lock; None where its last holder removed it meanwhile: then it locks nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "lock"
        try:
            lock = open(path, "a+")  # noqa: SIM115 (held until exit)
        except FileNotFoundError:
            return None
        kept = False
        try:
            if not file_lock.take(lock):
                lock.seek(0)
                holder = _holder(lock.read())
                raise StageInUse(
                    f"process {holder} already works on this stage ({self.folder}): wait for it, "
                    f"or end it (kill {holder}), then start again"
                )
            kept = path.stat().st_ino == os.fstat(lock.fileno()).st_ino
        except FileNotFoundError:
            pass
        finally:
            if not kept:
                lock.close()
        return lock if kept else None

    def __exit__(self, *error: object) -> None:
        self._entered -= 1
        if self._entered:
            return
        if not self._removed and not any(self.folder.glob("*.safetensors")):
            self.remove()  # nothing to go on from
        self._lock.close()
        self._lock = None

    def remove(self) -> None:
        """Remove the state after success; the lock goes with it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._removed = True  # whatever stands there now is another process's
