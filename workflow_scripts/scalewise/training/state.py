"""What the state of a training consists of, as arrays: weights (of a teacher too), moments of the
optimiser, rows, and the scale of losses where there is one."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from scalewise.training.optimizer_state import moments, restore_moments


def arrays(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: np.ndarray,
    teacher: nn.Module | None = None,
    scaler: GradScaler | None = None,
) -> dict[str, np.ndarray]:
    """All that the steps done so far have changed; rows: of training.csv, float64."""
    networks = {"model": model, "teacher": teacher} if teacher else {"model": model}
    tensors = {
        f"{name}.{k}": v.detach().cpu()
        for name, network in networks.items()
        for k, v in network.state_dict().items()
    }
    tensors.update((f"optimizer.{k}", v) for k, v in moments(optimizer, model).items())
    found = {"rows": rows, **{k: v.contiguous().numpy() for k, v in tensors.items()}}
    if scaler and scaler.is_enabled():
        scale = scaler.state_dict()
        found["scale"] = np.array([scale["scale"], scale["_growth_tracker"]], np.float64)
    return found


def restore(
    saved: Mapping[str, np.ndarray],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: np.ndarray,
    teacher: nn.Module | None = None,
    scaler: GradScaler | None = None,
) -> None:
    """Bring networks, optimiser, the first rows and the scaler to what `arrays` was given."""
    model.load_state_dict(_below("model.", saved))
    if teacher:
        teacher.load_state_dict(_below("teacher.", saved))
    restore_moments(optimizer, model, _below("optimizer.", saved))
    if scaler and "scale" in saved:
        scale, steps = saved["scale"].tolist()
        scaler.load_state_dict(
            {**scaler.state_dict(), "scale": scale, "_growth_tracker": int(steps)}
        )
    done = saved["rows"]
    rows[: len(done)] = done


def _below(prefix: str, saved: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The arrays whose names begin with the prefix, without it, as tensors."""
    found = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    return {k: torch.from_numpy(np.array(v)) for k, v in found.items()}
