"""State of a training that was interrupted: what the next run needs to end in the same bits.

Two files in a folder that is no declared output: `state.safetensors`, and while it is replaced the
one before. The state is bound to the stage's key (settings, inputs, code) and to the number of
threads, which changes the order of sums. A lock keeps a second trainer of the same stage out.
"""

import fcntl
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from scalewise.artifacts.atomic import replacing

log = logging.getLogger(__name__)


class StateInUse(Exception):
    """Another process trains this stage; the message names it."""


class TrainingState:
    """The saved state of one training, and the lock on it. Use as a context manager."""

    def __init__(self, folder: Path, key: str):
        self._folder, self._key = folder, key
        self._file = folder / "state.safetensors"
        self._lock = None

    def __enter__(self) -> "TrainingState":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self._folder / "lock", "a+")  # noqa: SIM115 (held until exit)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise StateInUse(
                f"process {holder} already trains this stage ({self._folder}): wait for it or end "
                "it, then start again"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, rows: np.ndarray
    ) -> None:
        """Save what has been done before `step`: weights, optimiser, rows of training.csv."""
        tensors = {f"model.{k}": v.detach().cpu() for k, v in model.state_dict().items()}
        optimizer_state = optimizer.state_dict()
        for number, values in optimizer_state["state"].items():
            for name, value in values.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).detach().cpu()
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
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            log.warning("%s: not readable (%s); starting from step 0", self._file, error)
            return 0
        if state["key"] != self._key:
            log.warning("%s: of other settings, code or threads; starting from step 0", self._file)
            return 0
        prefix = "model."
        model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        content = optimizer.state_dict()
        content["state"] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, field = name.split(".", 2)
                content["state"].setdefault(int(number), {})[field] = value
        optimizer.load_state_dict(content)
        done = tensors["rows"].numpy()
        rows[: len(done)] = done
        log.info("going on from step %d", state["step"])
        return state["step"]

    def remove(self) -> None:
        """Remove the state after success; the lock goes with it."""
        shutil.rmtree(self._folder, ignore_errors=True)
