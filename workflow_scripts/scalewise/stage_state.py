"""The saved state of a stage that was interrupted: arrays and facts, whole or not at all.

`state.safetensors` is replaced as a whole; the one before it stays as `previous.safetensors`. Each
carries a checksum, and the key of the stage (settings, inputs and code) that it belongs to.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from scalewise.artifacts.atomic import replacing
from scalewise.stage_lock import StageLock

log = logging.getLogger(__name__)
FORMAT = "scalewise state 1"


@dataclass(frozen=True)
class Saved:
    """What an earlier run left: work up to `step`, the arrays, and facts as plain JSON values."""

    step: int
    arrays: dict[str, np.ndarray]
    facts: dict


def _checksum(arrays: Mapping[str, np.ndarray], state: str) -> str:
    digest = hashlib.blake2b(state.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


class StageState(StageLock):
    """The state of one stage; it is to be held (`with state:`) by whoever saves or loads.

    Args:
        folder: where it lies.
        key: of the stage. A state of another one is refused.
    """

    def __init__(self, folder: Path, key: str):
        super().__init__(folder)
        self._key = key
        self.file = folder / "state.safetensors"
        self._previous = folder / "previous.safetensors"

    def save(self, step: int, arrays: Mapping[str, np.ndarray], **facts: object) -> None:
        """Save what has been done before `step`. The state before it stays until this one is whole,
        and one more beside it. Raises OSError when it cannot be written."""
        state = json.dumps({"key": self._key, "step": step, "facts": facts}, sort_keys=True)
        arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        metadata = {"format": FORMAT, "state": state, "checksum": _checksum(arrays, state)}
        with replacing(self.file) as temporary:
            save_file(arrays, temporary, metadata)
            if self.file.exists():
                os.replace(self.file, self._previous)

    def load(self) -> Saved | None:
        """The newest state that is whole and of this stage; None where there is none. Says in the
        log which are refused, and why."""
        for path in (self.file, self._previous):
            if not path.exists():
                continue
            try:
                saved = self._read(path)
            except Exception as error:
                log.warning("%s: not used: %s", path, error)
                if not isinstance(error, OSError):
                    # else the next save would put it in the place of the good one before it
                    path.unlink(missing_ok=True)
                continue
            return saved
        return None

    def _read(self, path: Path) -> Saved:
        """Raises ValueError, or what safetensors raises, where the file cannot be used."""
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"not a file of format '{FORMAT}'")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["checksum"] != _checksum(arrays, metadata["state"]):
            raise ValueError("damaged: its checksum is another")
        state = json.loads(metadata["state"])
        if state["key"] != self._key:
            raise ValueError(f"it is of {state['key']}, and this is {self._key}")
        return Saved(int(state["step"]), arrays, state["facts"])


class FollowedState(StageState):
    """The state as the further processes of a job see it: the first holds, saves and removes it,
    and has looked at it before they do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def save(self, step: int, arrays: Mapping[str, np.ndarray], **facts: object) -> None:
        pass

    def remove(self) -> None:
        pass
