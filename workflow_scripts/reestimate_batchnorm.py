"""reestimate_batchnorm: the source model with batch-norm statistics of the target.

Writes `model.safetensors`. Weights stay as they are; means and variances become the averages over
all target images in their order, or are mixed of those and the source's: `share` is that of the
target; `layers` says whether all have them or the shallow ones. No label is read. A control by
itself, and what `rounds.target_statistics` begins with.
"""

import numpy as np
import torch
from torch import nn

from scalewise.data.dataset import DataSet
from scalewise.errors import UserError
from scalewise.inference import batches, in_batches
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import normalise
from scalewise.models.precision import forward, to_device
from scalewise.resuming import items
from scalewise.runtime import prepared


def reestimate(job: Job) -> None:
    model = store.load(job.input("model"))
    whole = job.settings["layers"] == "all"
    parts = [model.network] if whole else model.network.shallow()
    layers = [m for part in parts for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    if not layers:
        which = "" if whole else " in its shallow layers"
        raise UserError(
            f"network {model.settings['name']} has no batch-norm{which}: drop this experiment"
        )
    target = DataSet(job.locations["target"], job.input("target_images"), model.size)
    of_source = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()

    def keep() -> dict[str, np.ndarray]:
        return {k: v.cpu().numpy() for k, v in model.network.named_buffers()}

    def restore(arrays: dict[str, np.ndarray]) -> None:
        buffers = dict(model.network.named_buffers())
        for name, array in arrays.items():
            buffers[name].copy_(torch.from_numpy(array))

    with prepared(job) as device, torch.no_grad():
        to_device(model.network.eval(), device, job.settings["precision"], job.warn)
        for layer in layers:
            layer.train()
        with items(job, len(target), "image", keep, restore) as work:
            seen = work.first
            left = in_batches(range(work.first, len(target)))
            for numbers, images in batches(target.image, left):
                seen += len(numbers)
                for layer in layers:
                    # every image counts alike, whatever its batch
                    layer.momentum = len(numbers) / seen
                forward(model.network, normalise(images.to(device), model.preprocessing))
                work.advance(len(numbers))
        for layer, (mean, variance) in zip(layers, of_source, strict=True):
            # as it is where there is nothing of the source: not to change by a rounding
            if job.settings["share"] < 1:
                layer.running_mean.lerp_(mean.to(device), 1 - job.settings["share"])
                layer.running_var.lerp_(variance.to(device), 1 - job.settings["share"])
    store.save(
        job.output("model.safetensors"), model.network, model.settings, model.classes, model.size
    )


if __name__ == "__main__":
    run(reestimate, __doc__)
