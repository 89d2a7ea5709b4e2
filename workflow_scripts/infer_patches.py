"""infer_patches: cut crops of the selected images and label them at the original scale.

Writes `patches.h5` (the method, step 4): the crops, their predicted class and normalised entropy,
and the labels scaled, not yet filtered by thresholds. On a sample of images it also measures the
paper's claim: the network's own entropy and agreement on the scaled-up crop.
"""

import numpy as np
import torch

from scalewise.artifacts import patches_h5, selected_csv
from scalewise.artifacts.patch_parts import PatchParts
from scalewise.data.dataset import DataSet, evenly_spread
from scalewise.inference import made_of_batches, predict
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.precision import to_device
from scalewise.resuming import items
from scalewise.runtime import prepared
from scalewise.selftraining.claim import ClaimCounter
from scalewise.selftraining.confidence import normalised_entropy, pixel_confidence
from scalewise.selftraining.patches import cut_patches, image_patches, scale_images
from scalewise.selftraining.selection import images_to_process


def infer(job: Job) -> None:
    s = job.settings
    model = store.load(job.input("model"))
    classes = len(model.classes)
    size = model.size
    target = DataSet(job.locations["target"], job.input("target_images"), size)
    used = images_to_process(
        [row.image for row in selected_csv.read(job.input("selected"))],
        round_number=s["round"],
        seed=s["seed"],
        resample=s["resample"],
        extra_images=s["extra_images"],
    )
    patches = [
        image_patches(s["seed"], s["round"], name, s["per_image"], size, s["scale"], occurrence=k)
        for name, k in used
    ]
    crops = [patch.crop for of_image in patches for patch in of_image]
    largest = [max(getattr(crop, side) for crop in crops) for side in ("height", "width")]
    sample = set(evenly_spread(len(used), s["claim_images"]))
    claim = ClaimCounter(classes)
    parts = PatchParts(job.state.folder, (largest[0], largest[1]), size)

    def keep() -> dict[str, np.ndarray]:
        return {**parts.close(), **claim.sums}

    def restore(arrays: dict[str, np.ndarray]) -> None:
        parts.restore(arrays.pop("parts"))
        claim.add_all(arrays)

    with (
        prepared(job) as device,
        items(job, len(used), "image", keep, restore) as work,
    ):
        to_device(model.network.eval(), device, s["precision"], job.warn)

        def cut_from(
            numbers: list[int], images: torch.Tensor
        ) -> tuple[list[patches_h5.Patches], dict[str, np.ndarray]]:
            """The patches of each image, and the sums of the claim."""
            probabilities, agree = predict(model, images, device, **s["prediction"])
            sure = pixel_confidence(probabilities)
            normalised = normalised_entropy(
                sure.entropy, sure.prediction, classes, constant_entropy=s["constant_entropy"]
            )
            if agree is not None:
                # Infinity is above every threshold, so all who read the entropy keep such a pixel
                # out, and count it as seen, without a further map. Only here: scores and the scale
                # of the entropy are of all pixels, so that the filter moves no threshold.
                normalised = normalised.masked_fill(~agree, torch.inf)
            of_batch, of_images = ClaimCounter(classes), []
            for i, number in enumerate(numbers):
                cut = cut_patches(
                    images[i],
                    sure.probabilities[i],
                    sure.prediction[i],
                    normalised[i],
                    patches[number],
                    size,
                )
                positions = [(crop.top, crop.left) for crop, _ in patches[number]]
                of_images.append(
                    patches_h5.Patches(
                        [used[number][0]] * len(positions),
                        np.array(positions),
                        [t.numpy() for t in cut.image],
                        [t.cpu().numpy() for t in cut.predicted],
                        [t.half().cpu().numpy() for t in cut.entropy],
                        cut.labels.cpu().numpy(),
                        np.array([place for _, place in patches[number]]),
                    )
                )
                if number in sample:
                    for k, (crop, place) in enumerate(patches[number]):
                        if (place.height, place.width) != size:
                            continue  # the claim is about what is scaled up
                        scaled = scale_images(cut.image[k][None], size)
                        again = pixel_confidence(
                            predict(model, scaled, device, **s["prediction"])[0]
                        )
                        before = crop.of(sure.entropy[i])[None]
                        of_batch.add(cut.predicted[k][None], before, cut.labels[k][None], again)
            return of_images, of_batch.sums

        def load(number: int) -> np.ndarray:
            return target.image(target.position[used[number][0]])

        left = range(work.first, len(used))
        for _, (of_images, sums) in made_of_batches(work, load, left, cut_from):
            for of_image in of_images:
                parts.append(of_image)
            claim.add_all(sums)
        if job.leads:
            parts.join(job.output("patches.h5"), len(crops), claim.columns())


if __name__ == "__main__":
    run(infer, __doc__, shared=True)
