"""State of a training that was interrupted: what the next run needs to end in the same bits.

It lies in a folder that is no declared output: `state.safetensors`, replaced as a whole, and the
lock that keeps a second trainer of the same stage out. The state is bound to the stage's key
(settings, inputs, code), and to the number of threads and the kind of device, which change the
order of sums.
"""

import fcntl
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalewise.artifacts.atomic import replacing
from scalewise.training.optimizer_state import moments, restore_moments

log = logging.getLogger(__name__)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class StateInUse(Exception):
    """Another process trains this stage; the message names it."""


class TrainingState:
    """The saved state of one training, and the lock on it. Use as a context manager."""

    def __init__(self, folder: Path, key: str):
        self._folder, self._key = folder, key
        self._file = folder / "state.safetensors"
        self._lock: TextIO | None = None

    def __enter__(self) -> "TrainingState":
        while self._lock is None:
            self._lock = self._locked()
        self._removed = False
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        for left in self._folder.glob("*.tmp"):  # by a trainer that was killed while it saved
            left.unlink(missing_ok=True)
        return self

    def _locked(self) -> TextIO | None:
        """The lock; None where its last holder removed it meanwhile: then it locks nothing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "lock"
        try:
            lock = open(path, "a+")  # noqa: SIM115 (held until exit)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StateInUse(
                f"process {holder} already trains this stage ({self._folder}): wait for it or end "
                "it, then start again"
            ) from None
        except FileNotFoundError:
            pass
        lock.close()
        return None

    def __exit__(self, *error: object) -> None:
        if not self._removed and not self._file.exists():
            self.remove()  # nothing to go on from
        self._lock.close()
        self._lock = None

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, rows: np.ndarray
    ) -> None:
        """Save what has been done before `step`: weights, optimiser, rows of training.csv."""
        tensors = {f"model.{k}": v.detach().cpu() for k, v in model.state_dict().items()}
        tensors.update((f"optimizer.{k}", v) for k, v in moments(optimizer, model).items())
        tensors["rows"] = torch.from_numpy(np.ascontiguousarray(rows))
        tensors = {k: v.contiguous() for k, v in tensors.items()}
        metadata = {"state": json.dumps({"key": self._key, "step": step})}
        with replacing(self._file) as temporary:
            save_file(tensors, temporary, metadata)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, rows: np.ndarray) -> int:
        """Restore the state in place and return the next step; 0 where there is none to use."""
        if not self._file.exists():
            return 0
        try:
            with safe_open(self._file, framework="pt") as file:
                state = json.loads((file.metadata() or {})["state"])
                key, step = state["key"], int(state["step"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            log.warning("%s: not readable (%s); starting from step 0", self._file, error)
            return 0
        if key != self._key:
            log.warning(
                "%s: of %s and this is %s; starting from step 0", self._file, key, self._key
            )
            return 0
        model.load_state_dict(_below("model.", tensors))
        restore_moments(optimizer, model, _below("optimizer.", tensors))
        done = tensors["rows"].numpy()
        rows[: len(done)] = done
        log.info("going on from step %d", step)
        return step

    def remove(self) -> None:
        """Remove the state after success; the lock goes with it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._removed = True  # whatever stands there now is another trainer's
