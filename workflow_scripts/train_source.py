"""train_source: train the network on the labelled source images, from drawn or pre-trained weights.

Writes `model.safetensors` and `training.csv`. A step is a function of the seed and its number: a
run that was stopped goes on from its last state and ends in the same bits.
"""

import torch

from scalewise.artifacts import labels_csv, training_csv
from scalewise.data.dataset import DataSet
from scalewise.data.index import require_unchanged
from scalewise.job import Job, run
from scalewise.models import store, weights
from scalewise.models.network import freeze_batchnorm, normalise
from scalewise.models.precision import forward, to_device
from scalewise.runtime import prepared
from scalewise.training.loop import train
from scalewise.training.losses import cross_entropy
from scalewise.training.randomness import derived_seed
from scalewise.training.shares import begin_pass, dealt, require_enough
from scalewise.training.source_batches import SourceBatches, class_pixels


def train_source(job: Job) -> None:
    s = job.settings
    source = DataSet(
        job.locations["source"],
        job.input("source_images"),
        tuple(s["source_size"]),
        job.input("source_labels"),
        s["label_ids"],
    )
    rare = s["rare_classes"]
    rows = labels_csv.read(job.input("source_labels"), s["classes"]) if rare else []
    batches = SourceBatches(
        source,
        s["seed"],
        s["batch"],
        s["augmentation"],
        rare_classes=rare,
        pixels=class_pixels(rows, source) if rare else None,
    )
    require_enough(s["batch"], "source_training.batch")
    share = dealt(s["batch"])
    with prepared(job) as device:
        torch.manual_seed(derived_seed(s["seed"], "weights"))
        model = store.build(s["network"], len(s["classes"]))
        if "weights" in job.locations:
            require_unchanged(job.locations["weights"], job.contents["weights"])
            weights.load_file(
                model,
                s["network"],
                s["classes"],
                job.locations["weights"],
                s["weights"],
                pretrained=True,
                warn=job.warn,
            )
        to_device(model, device, s["precision"], job.warn)
        model.train()
        if s["freeze_batchnorm"]:
            freeze_batchnorm(model)

        def loss_parts(batch):
            images, labels = (t.to(device) for t in batch)
            x = normalise(images, s["network"]["preprocessing"])
            begin_pass(share)
            logits = forward(model, x)
            yield {"loss": cross_entropy(logits, labels, align_corners=model.align_corners)}

        def finish(columns, rows, optimizer):
            store.save(
                job.output("model.safetensors"), model, s["network"], s["classes"], s["size"]
            )
            training_csv.write(job.output("training.csv"), columns, rows)

        train(
            job,
            model,
            lambda step: batches.make(step, share.places),
            loss_parts,
            terms=["loss"],
            steps=s["steps"],
            seed=s["seed"],
            optimizer_settings=s["optimizer"],
            schedule=s["schedule"],
            finish=finish,
            describe=batches.describe,
        )


if __name__ == "__main__":
    run(train_source, __doc__, shared=True)
