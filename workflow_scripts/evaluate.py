"""evaluate: confusion matrix and IoU on the labelled validation images, at the labels' own size.

Writes `confusion.csv`, `iou.csv`, and a few pictures: `pictures.h5` for the report, `pictures.png`
(image, label, prediction side by side) to look at. They are evenly spread over the set, never
chosen by hand.
"""

import numpy as np
import torch
from PIL import Image

from scalewise.artifacts import iou_csv, pictures_h5
from scalewise.artifacts.atomic import replacing
from scalewise.data import reading
from scalewise.data.dataset import DataSet
from scalewise.evaluation import class_iou, confusion_matrix
from scalewise.inference import batches, logits
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import upsample
from scalewise.runtime import prepared


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
    count = min(s["pictures"], len(validation))
    shown = {i * len(validation) // count for i in range(count)}
    pictures: dict[str, list] = {"ids": [], "image": [], "label": [], "prediction": []}
    matrix = np.zeros((classes, classes), np.int64)
    job.progress.start(len(validation), "image")
    with prepared(job) as device:
        model.network.to(device, memory_format=torch.channels_last).eval()
        for numbers, images in batches(validation.image, range(len(validation))):
            output = logits(model, images, device)
            for i, number in enumerate(numbers):
                label = validation.own_label(number)
                scaled = upsample(
                    output[i : i + 1], label.shape, align_corners=model.network.align_corners
                )[0]
                prediction = scaled.argmax(0).to("cpu").numpy().astype(np.uint8)
                matrix += confusion_matrix(label, prediction, classes)
                if number in shown:
                    pictures["ids"].append(validation.ids[number])
                    pictures["image"].append(images[i].numpy())
                    pictures["label"].append(reading.resize_label(label, model.size))
                    pictures["prediction"].append(reading.resize_label(prediction, model.size))
            job.progress.advance(len(numbers))
    iou_csv.write_confusion(job.output("confusion.csv"), matrix, model.classes)
    iou_csv.write_iou(job.output("iou.csv"), model.classes, *class_iou(matrix))
    write_pictures(job, pictures, model.size)


def write_pictures(job: Job, pictures: dict[str, list], size: tuple[int, int]) -> None:
    """Write the pictures as arrays and as one sheet: a row per image."""

    def stacked(name: str, depth: tuple[int, ...] = ()) -> np.ndarray:
        return np.array(pictures[name], np.uint8).reshape(-1, *size, *depth)

    content = pictures_h5.Pictures(
        pictures["ids"], stacked("image", (3,)), stacked("label"), stacked("prediction")
    )
    pictures_h5.write(job.output("pictures.h5"), content)
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(job.settings["colors"])] = job.settings["colors"]
    columns = [content.image, colors[content.label], colors[content.prediction]]
    sheet = np.concatenate(columns, 2).reshape(-1, 3 * size[1], 3)
    if not len(sheet):
        sheet = np.zeros((1, 1, 3), np.uint8)
    with replacing(job.output("pictures.png")) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


if __name__ == "__main__":
    run(evaluate, __doc__)
