"""evaluate: confusion matrix and IoU on the labelled validation images, at the labels' own size.

Writes `confusion.csv`, `iou.csv`, and a few pictures: `pictures.h5` for the report, with the
entropy of the prediction, `pictures.png` (image, label, prediction side by side) to look at. They
are evenly spread over the set, never chosen by hand.
"""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from scalewise.artifacts import iou_csv, pictures_h5
from scalewise.artifacts.atomic import replacing
from scalewise.data import reading
from scalewise.data.dataset import DataSet, evenly_spread
from scalewise.evaluation import class_iou, confusion_matrix
from scalewise.inference import logits, made_of_batches
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import upsample
from scalewise.models.precision import to_device
from scalewise.resuming import items
from scalewise.runtime import prepared
from scalewise.scaled_labels import scaled_labels
from scalewise.selftraining.confidence import normalised_entropy, pixel_confidence


class Picture(NamedTuple):
    """A validation image that is kept: its place in the set, and at the working size the image,
    uint8 (H, W, 3), its label and its prediction, uint8 (H, W), and `entropy_of` it."""

    number: int
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    entropy: np.ndarray


def entropy_of(output: torch.Tensor, model: store.LoadedModel) -> np.ndarray:
    """float16 (H, W): how unsure the network is of one image, seen once: its entropy, normalised
    to 0..1 within each predicted class (the method, step 3).

    Args:
        output: logits (1, K, h, w) at the network's own stride.
    """
    scaled = upsample(output, model.size, align_corners=model.network.align_corners)
    sure = pixel_confidence(scaled.softmax(dim=1))
    normalised = normalised_entropy(sure.entropy, sure.prediction, len(model.classes))
    return normalised[0].cpu().numpy().astype(np.float16)


def evaluate(job: Job) -> None:
    s = job.settings
    model = store.load(job.input("model"))
    classes = len(model.classes)
    validation = DataSet(
        job.locations["validation"],
        job.input("validation_images"),
        model.size,
        job.input("validation_labels"),
        s["label_ids"],
    )
    shown = set(evenly_spread(len(validation), s["pictures"]))
    pictures: list[Picture] = []
    matrix = np.zeros((classes, classes), np.int64)

    def keep() -> dict[str, np.ndarray]:
        return {"matrix": matrix, **stacked(pictures, model.size)}

    def restore(arrays: dict[str, np.ndarray]) -> None:
        matrix[:] = arrays.pop("matrix")
        rows = zip(*(arrays[name] for name in Picture._fields), strict=True)
        pictures.extend(Picture(int(number), *row) for number, *row in rows)

    with (
        prepared(job) as device,
        items(job, len(validation), "image", keep, restore) as work,
    ):
        to_device(model.network.eval(), device, s["precision"], job.warn)

        def compared(numbers: list[int], images: torch.Tensor) -> tuple[np.ndarray, list[Picture]]:
            output = logits(model, images, device)
            counted, seen = np.zeros_like(matrix), []
            for i, number in enumerate(numbers):
                label = validation.own_label(number)
                scaled = scaled_labels(
                    output[i : i + 1], label.shape, align_corners=model.network.align_corners
                )
                prediction = scaled[0].cpu().numpy()
                counted += confusion_matrix(label, prediction, classes)
                if number in shown:
                    small = (reading.resize_label(x, model.size) for x in (label, prediction))
                    unsure = entropy_of(output[i : i + 1], model)
                    seen.append(Picture(number, images[i].numpy(), *small, unsure))
            return counted, seen

        left = range(work.first, len(validation))
        for _, (counted, seen) in made_of_batches(work, validation.image, left, compared):
            matrix += counted
            pictures += seen
    if not job.leads:
        return
    iou_csv.write_confusion(job.output("confusion.csv"), matrix, model.classes)
    iou_csv.write_iou(job.output("iou.csv"), model.classes, *class_iou(matrix))
    arrays = stacked(pictures, model.size)
    ids = [validation.ids[number] for number in arrays.pop("number")]
    write_pictures(job, pictures_h5.Pictures(ids, **arrays))


def stacked(pictures: list[Picture], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The fields of all pictures, one array each."""

    def field(name: str, kind: type, *shape: int) -> np.ndarray:
        return np.array([getattr(p, name) for p in pictures], kind).reshape(-1, *shape)

    return {
        "number": field("number", np.int64).reshape(-1),
        "image": field("image", np.uint8, *size, 3),
        "label": field("label", np.uint8, *size),
        "prediction": field("prediction", np.uint8, *size),
        "entropy": field("entropy", np.float16, *size),
    }


def write_pictures(job: Job, content: pictures_h5.Pictures) -> None:
    """Write the pictures as arrays and as one sheet: a row per image."""
    pictures_h5.write(job.output("pictures.h5"), content)
    width = content.image.shape[2]
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(job.settings["colors"])] = job.settings["colors"]
    columns = [content.image, colors[content.label], colors[content.prediction]]
    sheet = np.concatenate(columns, 2).reshape(-1, 3 * width, 3)
    if not len(sheet):
        sheet = np.zeros((1, 1, 3), np.uint8)
    with replacing(job.output("pictures.png")) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


if __name__ == "__main__":
    run(evaluate, __doc__, shared=True)
