"""Optimisers and schedules by name."""

import torch
from torch import nn


def make_optimizer(model: nn.Module, settings: dict) -> torch.optim.Optimizer:
    """settings: name (adam, adamw, sgd), learning_rate, weight_decay, momentum, beta2."""
    # fused: one kernel for all tensors; tensor by tensor a small network waits for Python
    common = {
        "lr": settings["learning_rate"],
        "weight_decay": settings["weight_decay"],
        "fused": True,
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings["name"] == "sgd":
        return torch.optim.SGD(parameters, momentum=settings["momentum"], **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings["name"]]
    return kind(parameters, betas=(settings["momentum"], settings["beta2"]), **common)


def learning_rate(settings: dict, schedule: dict, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: constant, or poly: rate (1 - k / n) ** power."""
    rate = settings["learning_rate"]
    if schedule["name"] == "poly":
        rate *= (1 - step / steps) ** schedule["power"]
    return rate
