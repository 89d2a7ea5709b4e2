"""Optimisers and schedules by name."""

import torch
from torch import nn

from scalewise.models.network import Network


def _groups(model: Network, settings: dict) -> list[dict]:
    """The trained parameters, those of one factor together, in the network's order."""
    classifier = {id(p) for p in model.classifier_parameters()}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = settings["bias_rate"] if name.endswith("bias") else 1
        if id(parameter) in classifier:
            factor *= settings["classifier_rate"]
        groups.setdefault(factor, []).append(parameter)
    rate = settings["learning_rate"]
    return [{"params": p, "factor": f, "lr": rate * f} for f, p in groups.items()]


def make_optimizer(model: Network, settings: dict) -> torch.optim.Optimizer:
    """An optimiser with one group for each factor; a step sets "lr" to the rate times "factor".

    settings: name (adam, adamw, sgd), learning_rate, weight_decay (of all that is trained),
    momentum (beta 1 of the Adams), beta2, and the factors bias_rate, of biases, and
    classifier_rate, of `classifier_parameters()`; a bias of the classifier has both.
    """
    groups = _groups(model, settings)
    # fused: one kernel for all tensors; tensor by tensor a small network waits for Python
    common = {"weight_decay": settings["weight_decay"], "fused": True}
    if settings["name"] == "sgd":
        return torch.optim.SGD(groups, momentum=settings["momentum"], **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings["name"]]
    return kind(groups, betas=(settings["momentum"], settings["beta2"]), **common)


def learning_rate(settings: dict, schedule: dict, step: int, steps: int) -> float:
    """The rate of step k = `step` (from 0) of n = `steps`, before the factors of the groups.

    schedule: name
        constant: the rate as it is;
        poly: rate (1 - k / horizon) ** power; horizon None is n, and from a horizon on it is 0;
        step: rate drop_factor ** (k // drop_every);
    and warmup: the first w steps get (k + 1) / w of that.
    """
    rate = settings["learning_rate"]
    if schedule["name"] == "poly":
        horizon = steps if schedule["horizon"] is None else schedule["horizon"]
        rate *= max(0, 1 - step / horizon) ** schedule["power"]
    elif schedule["name"] == "step":
        rate *= schedule["drop_factor"] ** (step // schedule["drop_every"])
    if step < schedule["warmup"]:
        rate *= (step + 1) / schedule["warmup"]
    return rate
