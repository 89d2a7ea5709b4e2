"""infer_patches: cut crops of the selected images and label them at the original scale.

Writes `patches.h5` (the method, step 4): the crops, their predicted class and normalised entropy,
and the labels scaled up, not yet filtered by thresholds. On a sample of images it also measures the
paper's claim: the network's own entropy and agreement on the scaled-up crop.
"""

import numpy as np
import torch

from scalewise.artifacts import patches_h5, selected_csv
from scalewise.data.dataset import DataSet
from scalewise.inference import batches, logits
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import upsample
from scalewise.runtime import prepared
from scalewise.selftraining.claim import ClaimCounter
from scalewise.selftraining.confidence import normalised_entropy, pixel_confidence
from scalewise.selftraining.patches import crop_positions, crop_size, scale_images, scaled_labels


def infer(job: Job) -> None:
    s = job.settings
    model = store.load(job.input("model"))
    classes = len(model.classes)
    size = model.size
    selected = selected_csv.read(job.input("selected"))
    target = DataSet(job.locations["target"], job.input("target_images"), size)
    crop = crop_size(size, s["scale"])
    # a crop as large as the image is the same each time: once is enough
    per_image = 1 if crop == size else s["per_image"]
    numbers = [target.position[row.image] for row in selected]
    sample = set(_spread(numbers, s["claim_images"]))
    claim = ClaimCounter(classes)
    job.progress.start(len(numbers), "image")
    with (
        prepared(job) as device,
        patches_h5.writing(
            job.output("patches.h5"), len(numbers) * per_image, crop, size
        ) as writer,
    ):
        model.network.to(device, memory_format=torch.channels_last).eval()
        for part, images in batches(target.image, numbers):
            sure = pixel_confidence(upsample(logits(model, images, device), size))
            normalised = normalised_entropy(sure.entropy, sure.prediction, classes)
            for i, number in enumerate(part):
                name = target.ids[number]
                positions = crop_positions(s["seed"], s["round"], name, per_image, size, crop)

                def cut(maps: torch.Tensor, at=positions) -> torch.Tensor:
                    """The crops of maps (..., H, W), stacked: (n, ..., h, w)."""
                    return torch.stack(
                        [maps[..., top : top + crop[0], left : left + crop[1]] for top, left in at]
                    )

                crops = cut(images[i].permute(2, 0, 1)).permute(0, 2, 3, 1)
                labels = scaled_labels(cut(sure.probabilities[i]), size)
                predicted = cut(sure.prediction[i])
                writer.append(
                    patches_h5.Patches(
                        [name] * len(positions),
                        positions,
                        crops.numpy(),
                        predicted.cpu().numpy(),
                        cut(normalised[i]).cpu().numpy().astype(np.float16),
                        labels.cpu().numpy(),
                    )
                )
                if number in sample:
                    scaled = scale_images(crops.contiguous(), size)
                    again = pixel_confidence(upsample(logits(model, scaled, device), size))
                    claim.add(predicted, cut(sure.entropy[i]), labels, again)
            job.progress.advance(len(part))
        writer.claim(claim.columns())


def _spread(numbers: list[int], count: int) -> list[int]:
    """`count` of the numbers, evenly spread over the list."""
    if count >= len(numbers):
        return numbers
    return [numbers[i * len(numbers) // count] for i in range(count)]


if __name__ == "__main__":
    run(infer, __doc__)
