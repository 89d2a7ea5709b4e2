"""The moments of an optimiser as tensors by name: `<parameter>/<field>`."""

import torch
from torch import Tensor, nn


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[str]:
    """The parameters' names in the order in which the optimiser numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def moments(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """All that the optimiser remembers of each parameter, on the CPU; empty before its first step.

    Rates and decays are settings, and no part of it.
    """
    names = _names(optimizer, model)
    return {
        f"{names[number]}/{field}": torch.as_tensor(value).detach().cpu().contiguous()
        for number, values in optimizer.state_dict()["state"].items()
        for field, value in values.items()
        if value is not None
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Let the optimiser go on from these moments. Raises KeyError for a parameter it does not
    train."""
    numbers = {name: number for number, name in enumerate(_names(optimizer, model))}
    content = optimizer.state_dict()
    content["state"] = {}
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        content["state"].setdefault(numbers[name], {})[field] = value.clone()  # is changed in place
    optimizer.load_state_dict(content)
    for parameter, values in optimizer.state.items():
        for field, value in values.items():
            if value.shape == parameter.shape:
                # files keep no strides; with others than the weights' sums may round apart
                values[field] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
