"""retrain: one round of training on source images and reliable patches (the method, step 5).

Writes `model.safetensors`, `training.csv`, and `optimizer.safetensors`. Optimiser and schedule
begin anew in every round, so that a round depends on its inputs alone; with `carry_optimizer` the
moments go on from the round before. With a target weight of 0 no patch is read: a control that
makes as many steps on the source. A mean teacher, where there is one, begins as the student and
ends with the round: what is written is the student.
"""

import logging

import numpy as np
import torch

from scalewise.artifacts import (
    labels_csv,
    optimizer_file,
    selected_csv,
    thresholds_csv,
    training_csv,
)
from scalewise.data.dataset import DataSet
from scalewise.job import Job, run
from scalewise.models import store
from scalewise.models.network import (
    DomainStatistics,
    freeze_batchnorm,
    normalise,
    upsample,
)
from scalewise.models.precision import forward, to_device
from scalewise.runtime import prepared
from scalewise.selftraining.selection import step_count
from scalewise.training.loop import train
from scalewise.training.losses import (
    consistency,
    focal_term,
    labelled_mean,
    pixel_cross_entropy,
    soft_cross_entropy,
)
from scalewise.training.optimizer_state import moments
from scalewise.training.patch_batches import PatchBatch, PatchBatches
from scalewise.training.randomness import derived_seed
from scalewise.training.shares import Share, begin_pass, dealt, require_enough
from scalewise.training.source_batches import SourceBatches, class_pixels
from scalewise.training.teacher import Teacher, labels_and_trust, wanted_probabilities

log = logging.getLogger(__name__)


def _fit(patches: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether patches and source images have one size, and so can go through together."""
    return patches.shape[1:] == labels.shape[1:]


def _shares(s: dict, *, patches: bool) -> tuple[Share, Share]:
    """What this process has of the source images and of the patches of a step.

    Raises UserError where there are fewer of them than processes.
    """
    source, target = s["source_batch"], s["target_batch"] if patches else 0
    require_enough(source + target, "retraining.source_batch and target_batch together")
    if not s["freeze_batchnorm"]:  # statistics of a batch need an image of it everywhere
        require_enough(source, "retraining.source_batch, where batch-norm is not frozen")
        if patches:
            require_enough(target, "retraining.target_batch, where batch-norm is not frozen")
    return dealt(source), dealt(target, after=source)


def at_half_size(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> (N, H // 2, W // 2, 3): the mean of each four pixels."""
    planes = images.permute(0, 3, 1, 2).float()
    return torch.nn.functional.avg_pool2d(planes, 2).round().byte().permute(0, 2, 3, 1)


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
    target = None
    if job.has_input("target_images"):
        target = DataSet(job.locations["target"], job.input("target_images"), tuple(s["size"]))
    rare = s["rare_classes"]
    rows = labels_csv.read(job.input("source_labels"), s["classes"]) if rare else []
    source_batches = SourceBatches(
        source,
        seed,
        s["source_batch"],
        s["augmentation"],
        s["source_zoom"],
        rare,
        class_pixels(rows, source) if rare else None,
        target=target,
        target_colors=s["target_colors"],
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
            label_weights=s["label_weights"],
            class_mix=s["class_mix"],
            rare_classes=rare,
        )
    of_source, of_patches = _shares(s, patches=patch_batches is not None)
    selected = len(selected_csv.read(job.input("selected")))
    steps = step_count(selected, s)
    job.notes.update(steps=steps, selected=selected)
    network = model.network
    with prepared(job) as device:
        to_device(network, device, s["precision"], job.warn)
        network.train()
        if s["freeze_batchnorm"]:
            freeze_batchnorm(network)

        teacher = None
        if patch_batches and s["teacher"]["momentum"] > 0:
            teacher = Teacher(network, s["teacher"]["momentum"])
            never = torch.from_numpy(tau <= 0).to(device)
        source_network = None
        if job.has_input("source_model"):
            source_network = store.load(job.input("source_model")).network.to(device)
        anchors = list(source_network.parameters()) if s["anchor"] > 0 else []
        statistics = None
        if s["own_statistics"]:
            statistics = DomainStatistics(network, source_network)

        def make_batch(step: int):
            images, labels = source_batches.make(step, of_source.places)

            def to_paste(place: int):
                place %= s["source_batch"]
                if place not in of_source.places:
                    return source_batches.view(step, place)
                mine = of_source.places.index(place)
                return images[mine].numpy(), labels[mine].numpy()

            patches = None
            if patch_batches:
                patches = patch_batches.make(step, to_paste, of_patches.places)
            return (images, labels), patches

        def logits_of(images, *shares, net=network):
            x = normalise(images.to(device), model.preprocessing)
            if not len(x):
                return x.new_zeros(0, len(model.classes), *x.shape[2:])
            begin_pass(*shares)
            return forward(net, x)

        def losses_of(logits, labels):
            return pixel_cross_entropy(logits, labels, align_corners=network.align_corners)

        def taught(patches: PatchBatch):
            """Labels of the patches, the weights of their pixels or None, and where labels are soft
            the probabilities that are wanted."""
            labels, pasted = patches.labels.to(device), patches.pasted.to(device)
            if teacher is None:
                weights = patches.weights
                return labels, None if weights is None else weights.to(device).float() / 255, None
            with torch.no_grad():
                said = upsample(
                    logits_of(patches.clean, of_patches, net=teacher.network),
                    labels.shape[1:],
                    align_corners=network.align_corners,
                )
                own, trust = labels_and_trust(
                    said, patches.outside.to(device), s["teacher"]["confidence"], never
                )
                weights = torch.where(pasted, 1.0, trust[:, None, None])
                soft = None
                if s["teacher"]["labels"] == "soft":
                    soft = wanted_probabilities(said, labels, pasted, never)
                return torch.where(pasted, labels, own), weights, soft

        def patch_loss(logits, patches, labels, weights, soft):
            if soft is None:
                losses = losses_of(logits, labels)
            else:
                losses = soft_cross_entropy(
                    logits, soft, labels, align_corners=network.align_corners
                )
            plain = labelled_mean(losses, labels, s["empty_patch"], weights)
            focal = focal_term(
                losses, labels, **s["focal"], empty=s["empty_patch"], weights=weights
            )
            loss = s["target_weight"] * (plain + focal)
            if s["consistency"] == 0:
                return {"loss": loss, "patch": plain, "focal": focal}
            with torch.no_grad():
                half = logits_of(at_half_size(patches.images), of_patches)
            agree = consistency(
                logits, half, patches.outside.to(device), align_corners=network.align_corners
            )
            loss = loss + s["consistency"] * agree
            return {"loss": loss, "patch": plain, "focal": focal, "consistency": agree}

        def source_loss(images, labels):
            source = labelled_mean(losses_of(logits_of(images, of_source), labels), labels)
            if patch_batches is not None:
                return {"loss": source, "source": source}
            nothing = torch.zeros_like(source)
            return {"loss": source, "source": source, "patch": nothing, "focal": nothing}

        def loss_parts(batch):
            (images, labels), patches = batch
            split, labels = len(labels), labels.to(device)
            if statistics:
                with statistics.of_source():
                    yield source_loss(images, labels)
                if patches is not None:
                    yield patch_loss(
                        logits_of(patches.images, of_patches), patches, *taught(patches)
                    )
            elif patches is None:
                yield source_loss(images, labels)
            elif _fit(patches.labels, labels):
                # one pass for both: with frozen statistics an image's output is its own affair
                told = taught(patches)
                logits = logits_of(torch.cat([images, patches.images]), of_source, of_patches)
                source = labelled_mean(losses_of(logits[:split], labels), labels)
                part = patch_loss(logits[split:], patches, *told)
                yield {**part, "loss": source + part["loss"], "source": source}
            else:
                yield source_loss(images, labels)
                yield patch_loss(logits_of(patches.images, of_patches), patches, *taught(patches))

        @torch.no_grad()
        def after_step(step: int, rate: float) -> None:
            for own, anchor in zip(network.parameters(), anchors, strict=bool(anchors)):
                own.lerp_(anchor, min(1.0, rate * s["anchor"]))
            if teacher:
                teacher.follow(network)

        terms = ["loss", "source", "patch", "focal"]
        if patch_batches and s["consistency"] > 0:
            terms.append("consistency")

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
            terms=terms,
            steps=steps,
            seed=seed,
            optimizer_settings=s["optimizer"],
            schedule=s["schedule"],
            finish=finish,
            describe=describe,
            after_step=after_step,
            teacher=teacher.network if teacher else None,
            may_be_nan=("loss", "patch", "focal") if s.get("empty_patch") == "nan" else (),
            carried=optimizer_file.read(job.input("optimizer"))
            if job.has_input("optimizer")
            else None,
        )


if __name__ == "__main__":
    run(retrain, __doc__, shared=True)
