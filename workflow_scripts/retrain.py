"""retrain: one round of training on source images and reliable patches (the method, step 5).

Writes `model.safetensors`, `training.csv`, and `optimizer.safetensors`. Optimiser and schedule
begin anew in every round, so that a round depends on its inputs alone; with `carry_optimizer` the
moments go on from the round before. With a target weight of 0 no patch is read: a control that
makes as many steps on the source.
"""

import logging

import numpy as np
import torch

from scalewise.artifacts import optimizer_file, selected_csv, thresholds_csv, training_csv
from scalewise.data.dataset import DataSet
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import freeze_batchnorm, normalise
from scalewise.runtime import prepared
from scalewise.selftraining.selection import step_count
from scalewise.training.loop import train
from scalewise.training.losses import focal_term, labelled_mean, pixel_cross_entropy
from scalewise.training.optimizer_state import moments
from scalewise.training.patch_batches import PatchBatches
from scalewise.training.randomness import derived_seed
from scalewise.training.source_batches import SourceBatches

log = logging.getLogger(__name__)


def _fit(patches: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether patches and source images have one size, and so can go through together."""
    return patches.shape[1:] == labels.shape[1:]


def retrain(job: Job) -> None:
    s = job.settings
    model = store.load(job.input("model"))
    # rounds differ in what they draw; so do seeds
    seed = derived_seed(s["seed"], "round", s["round"])
    source = DataSet(
        job.locations["source"],
        job.input("source_images"),
        tuple(s["source_size"]),
        job.input("source_labels"),
        s["label_ids"],
    )
    source_batches = SourceBatches(
        source, seed, s["source_batch"], s["augmentation"], s["source_zoom"]
    )
    patch_batches = None
    if job.has_input("patches"):
        tau = np.array([row.tau for row in thresholds_csv.read(job.input("thresholds"))])
        patch_batches = PatchBatches(
            job.input("patches"),
            tau,
            seed,
            s["target_batch"],
            s["target_augmentation"],
            reliability=s["reliability"],
            constant_entropy=s["constant_entropy"],
        )
    selected = len(selected_csv.read(job.input("selected")))
    steps = step_count(selected, s)
    job.notes.update(steps=steps, selected=selected)
    network = model.network
    with prepared(job) as device:
        network.to(device, memory_format=torch.channels_last).train()
        if s["freeze_batchnorm"]:
            freeze_batchnorm(network)

        def make_batch(step: int):
            return source_batches.make(step), patch_batches.make(step) if patch_batches else None

        def pixel_losses(images, labels):
            x = normalise(images.to(device), model.preprocessing)
            logits = network(x.contiguous(memory_format=torch.channels_last))
            return pixel_cross_entropy(logits, labels, align_corners=network.align_corners)

        def patch_loss(losses, labels):
            plain = labelled_mean(losses, labels, s["empty_patch"])
            focal = focal_term(losses, labels, **s["focal"], empty=s["empty_patch"])
            loss = s["target_weight"] * (plain + focal)
            return {"loss": loss, "patch": plain, "focal": focal}

        def loss_parts(batch):
            (images, labels), patches = batch
            split, labels = len(labels), labels.to(device)
            if patches is None:
                source = labelled_mean(pixel_losses(images, labels), labels)
                nothing = torch.zeros_like(source)
                yield {"loss": source, "source": source, "patch": nothing, "focal": nothing}
            elif _fit(patches[1], labels):
                # one pass for both: with frozen statistics an image's output is its own affair
                labels = torch.cat([labels, patches[1].to(device)])
                losses = pixel_losses(torch.cat([images, patches[0]]), labels)
                source = labelled_mean(losses[:split], labels[:split])
                part = patch_loss(losses[split:], labels[split:])
                yield {**part, "loss": source + part["loss"], "source": source}
            else:
                source = labelled_mean(pixel_losses(images, labels), labels)
                yield {"loss": source, "source": source}
                labels = patches[1].to(device)
                yield patch_loss(pixel_losses(patches[0], labels), labels)

        def finish(columns, rows, optimizer):
            store.save(
                job.output("model.safetensors"), network, model.settings, model.classes, model.size
            )
            training_csv.write(job.output("training.csv"), columns, rows)
            kept = moments(optimizer, network) if s["carry_optimizer"] else {}
            optimizer_file.write(job.output("optimizer.safetensors"), kept)
            if patch_batches is not None:
                log.info("patches read without a reliable pixel: %d", patch_batches.empty)

        def describe(step: int) -> str:
            parts = [b for b in (source_batches, patch_batches) if b]
            return "; ".join(part.describe(step) for part in parts)

        train(
            job,
            network,
            make_batch,
            loss_parts,
            terms=["loss", "source", "patch", "focal"],
            steps=steps,
            seed=seed,
            optimizer_settings=s["optimizer"],
            schedule=s["schedule"],
            finish=finish,
            describe=describe,
            may_be_nan=("loss", "patch", "focal") if s.get("empty_patch") == "nan" else (),
            carried=optimizer_file.read(job.input("optimizer"))
            if job.has_input("optimizer")
            else None,
        )


if __name__ == "__main__":
    run(retrain, __doc__)
