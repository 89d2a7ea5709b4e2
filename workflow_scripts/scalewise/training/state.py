"""What the state of a training consists of, as arrays: weights (of a teacher too), moments of the
optimiser, rows."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from scalewise.training.optimizer_state import moments, restore_moments


def arrays(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: np.ndarray,
    teacher: nn.Module | None = None,
) -> dict[str, np.ndarray]:
    """All that the steps done so far have changed; rows: of training.csv, float64."""
    networks = {"model": model, "teacher": teacher} if teacher else {"model": model}
    tensors = {
        f"{name}.{k}": v.detach().cpu()
        for name, network in networks.items()
        for k, v in network.state_dict().items()
    }
    tensors.update((f"optimizer.{k}", v) for k, v in moments(optimizer, model).items())
    return {"rows": rows, **{k: v.contiguous().numpy() for k, v in tensors.items()}}


def restore(
    saved: Mapping[str, np.ndarray],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: np.ndarray,
    teacher: nn.Module | None = None,
) -> None:
    """Bring networks, optimiser and the first rows to what `arrays` was given."""
    model.load_state_dict(_below("model.", saved))
    if teacher:
        teacher.load_state_dict(_below("teacher.", saved))
    restore_moments(optimizer, model, _below("optimizer.", saved))
    done = saved["rows"]
    rows[: len(done)] = done


def _below(prefix: str, saved: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The arrays whose names begin with the prefix, without it, as tensors."""
    found = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    return {k: torch.from_numpy(np.array(v)) for k, v in found.items()}
