"""score_target: how sure is the network of each class in each target image?

Writes `scores.csv`: per image and predicted class the pixels, the mean max-probability and the mean
entropy, normalised and in nats (the method, steps 1 and 3); and `predictions.h5`, the predicted
class of every 4th pixel, by which rounds are compared. No label of the target is read. And
`source.csv`: the loss on some source images, since a network that harms forgets the source
(docs/health.md).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as functional

from scalewise.artifacts import predictions_h5, scores_csv, source_csv
from scalewise.artifacts.maps_file import MapsFile
from scalewise.data.dataset import DataSet, evenly_spread
from scalewise.inference import batches, full_logits, in_batches, made_of_batches, predict
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.precision import to_device
from scalewise.resuming import items
from scalewise.runtime import prepared
from scalewise.selftraining.confidence import (
    class_statistics,
    normalised_entropy,
    pixel_confidence,
)
from scalewise.taxonomy import IGNORE

SOURCE_IMAGES = 50  # evenly spread; more would cost time in every round


class Gathered:
    """What is found of each image, batch by batch, in one array of each kind for all: thousands of
    small ones between what comes and goes with each batch would scatter the memory."""

    def __init__(self, total: int):
        self._total, self._done = total, 0
        self._arrays: list[np.ndarray] = []

    def append(self, found: Sequence[np.ndarray]) -> None:
        """found: arrays with an image in each row; the kinds in the same order each time."""
        if not self._arrays:
            self._arrays = [np.empty((self._total, *a.shape[1:]), a.dtype) for a in found]
        end = self._done + len(found[0])
        for whole, part in zip(self._arrays, found, strict=True):
            whole[self._done : end] = part
        self._done = end

    @property
    def so_far(self) -> list[np.ndarray]:
        return [whole[: self._done] for whole in self._arrays]


def source_losses(
    job: Job, model: store.LoadedModel, device: torch.device
) -> list[source_csv.SourceRow]:
    """The loss on `SOURCE_IMAGES` images of the source, one view of each."""
    places = job.locations["source"], job.input("source_images")
    labels = job.input("source_labels"), job.settings["label_ids"]
    source = DataSet(*places, model.size, *labels)
    rows = []
    numbers = evenly_spread(len(source), SOURCE_IMAGES)
    for part, images in batches(source.image, in_batches(numbers)):
        true = torch.from_numpy(np.stack([source.pair(n)[1] for n in part])).long().to(device)
        losses = functional.cross_entropy(
            full_logits(model, images, device), true, ignore_index=IGNORE, reduction="none"
        )
        known = (true != IGNORE).sum((1, 2))
        for n, pixels, loss in zip(part, known.tolist(), losses.sum((1, 2)).tolist(), strict=True):
            mean = loss / pixels if pixels else math.nan
            rows.append(source_csv.SourceRow(source.ids[n], pixels, mean))
    return rows


def score(job: Job) -> None:
    model = store.load(job.input("model"))
    classes = len(model.classes)
    target = DataSet(job.locations["target"], job.input("target_images"), model.size)
    results, predicted = Gathered(len(target)), MapsFile(job.state.folder / "predicted.maps")

    def keep() -> dict[str, np.ndarray]:
        arrays = {str(k): array for k, array in enumerate(results.so_far)}
        return {**arrays, **predicted.state()}

    def restore(arrays: dict[str, np.ndarray]) -> None:
        predicted.restore(arrays.pop("maps"), arrays.pop("maps_shape"))
        results.append([arrays[str(k)] for k in range(len(arrays))])

    with (
        prepared(job) as device,
        items(job, len(target), "image", keep, restore) as work,
    ):
        to_device(model.network.eval(), device, job.settings["precision"], job.warn)

        def scored(numbers: list[int], images: torch.Tensor) -> tuple[np.ndarray, ...]:
            probabilities, _ = predict(model, images, device, **job.settings["prediction"])
            sure = pixel_confidence(probabilities)
            normalised = normalised_entropy(
                sure.entropy,
                sure.prediction,
                classes,
                constant_entropy=job.settings["constant_entropy"],
            )
            found = class_statistics(
                sure.prediction, sure.maximum, normalised, sure.entropy, classes
            )
            maps = predictions_h5.thinned(sure.prediction.cpu().numpy())
            return (*map(np.asarray, found), maps)

        left = range(work.first, len(target))
        for _, (*statistics, maps) in made_of_batches(work, target.image, left, scored):
            results.append(statistics)
            predicted.append(maps)
        if not job.leads:
            return
        on_source = source_losses(job, model, device)
    scores = scores_csv.Scores(target.ids, *results.so_far)
    scores_csv.write(job.output("scores.csv"), scores, model.classes)
    predictions_h5.write(job.output("predictions.h5"), target.ids, predicted)
    source_csv.write(job.output("source.csv"), on_source)


if __name__ == "__main__":
    run(score, __doc__, shared=True)
