"""reestimate_batchnorm: a control: the source model with batch-norm statistics of the target.

Writes `model.safetensors`. Weights stay as they are; means and variances become the averages over
all target images in their order. No label is read.
"""

import torch
from torch import nn

from scalewise.data.dataset import DataSet
from scalewise.errors import UserError
from scalewise.inference import batches
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import normalise
from scalewise.runtime import prepared


def reestimate(job: Job) -> None:
    model = store.load(job.input("model"))
    layers = [m for m in model.network.modules() if isinstance(m, nn.BatchNorm2d)]
    if not layers:
        raise UserError(f"network {model.settings['name']} has no batch-norm: drop this experiment")
    target = DataSet(job.locations["target"], job.input("target_images"), model.size)
    for layer in layers:
        layer.reset_running_stats()
    job.progress.start(len(target), "image")
    with prepared(job) as device, torch.no_grad():
        model.network.to(device).eval()
        for layer in layers:
            layer.train()
        seen = 0
        for numbers, images in batches(target.image, range(len(target))):
            seen += len(numbers)
            for layer in layers:
                layer.momentum = len(numbers) / seen  # every image counts alike, whatever its batch
            model.network(normalise(images.to(device), model.preprocessing))
            job.progress.advance(len(numbers))
    store.save(
        job.output("model.safetensors"), model.network, model.settings, model.classes, model.size
    )


if __name__ == "__main__":
    run(reestimate, __doc__)
