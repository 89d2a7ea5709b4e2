"""Batches of patches and of source images: which, how seen, and what is ignored."""

import numpy as np
import pytest
import torch
from PIL import Image

from scalewise.artifacts import images_csv, labels_csv, patches_h5
from scalewise.artifacts.hashing import content_hash
from scalewise.data.dataset import DataSet
from scalewise.errors import UserError
from scalewise.training.patch_batches import PatchBatches
from scalewise.training.source_batches import SourceBatches

CROP, SIZE = (4, 6), (8, 12)
CLASSES = 3
PLAIN = {
    "flip": False, "scale": [1, 1], "brightness": 0, "contrast": 0, "saturation": 0,
    "channel_gain": 0, "gamma": 0, "blur": 0,
}  # fmt: skip
LIVELY = {
    "flip": True, "scale": [0.5, 2], "brightness": 0.2, "contrast": 0.2, "saturation": 0.2,
    "channel_gain": 0.1, "gamma": 0.3, "blur": 1.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def write_patches(path, predicted, entropy, label, images=None):
    count = len(predicted)
    if images is None:
        images = np.random.default_rng(1).integers(0, 256, (count, *CROP, 3), np.uint8)
    with patches_h5.writing(path, count, CROP, SIZE) as writer:
        writer.append(
            patches_h5.Patches(
                [f"image {i}" for i in range(count)],
                np.zeros((count, 2), np.int32),
                images,
                np.asarray(predicted, np.uint8),
                np.asarray(entropy, np.float16),
                np.asarray(label, np.uint8),
            )
        )
    return path


def random_patches(path, count=5):
    draws = np.random.default_rng(0)
    return write_patches(
        path,
        draws.integers(0, CLASSES, (count, *CROP)),
        draws.random((count, *CROP)),
        draws.integers(0, CLASSES, (count, *SIZE)),
    )


def one_patch(path, tau, *, predicted=0, entropy=0.25, label=0, **rules):
    """Image and label of the only patch, as trained on."""
    shapes = ((predicted, CROP), (entropy, CROP), (label, SIZE))
    arrays = (np.broadcast_to(np.asarray(v), shape)[None] for v, shape in shapes)
    batches = PatchBatches(write_patches(path, *arrays), np.array(tau), 0, 1, PLAIN, **rules)
    images, labels, *_ = batches.make(0)
    return images[0].numpy(), labels[0].numpy(), batches


class TestPatchBatches:
    def test_a_batch_is_the_same_whatever_was_made_before(self, tmp_path):
        path = random_patches(tmp_path / "patches.h5")
        tau = np.array([0.5, 0.9, 0.2])
        forward = PatchBatches(path, tau, 3, 4, LIVELY)
        expected = [forward.make(step) for step in range(6)]
        backward = PatchBatches(path, tau, 3, 4, LIVELY)
        for step in (5, 0, 3, 3, 1, 4, 2, 5):
            images, labels, *_ = backward.make(step)
            assert torch.equal(images, expected[step][0])
            assert torch.equal(labels, expected[step][1])
        other = PatchBatches(path, tau, 4, 4, LIVELY)
        assert not torch.equal(other.make(0)[0], expected[0][0])

    def test_the_same_patch_is_seen_anew_in_every_place_and_step(self, tmp_path):
        batches = PatchBatches(random_patches(tmp_path / "p.h5", 1), np.ones(3), 0, 3, LIVELY)
        views = torch.cat([batches.make(step)[0] for step in range(3)])
        assert len({view.numpy().tobytes() for view in views}) == 9

    def test_what_is_kept_between_steps_is_never_written_to(self, tmp_path):
        batches = PatchBatches(random_patches(tmp_path / "p.h5", 1), np.ones(3), 0, 1, PLAIN)
        images, labels, *_ = batches.make(0)
        first = images.clone(), labels.clone()
        images.zero_()
        labels.zero_()
        again = batches.make(1)
        assert torch.equal(again[0], first[0]) and torch.equal(again[1], first[1])

    def test_patches_are_scaled_up_to_the_working_size_as_bytes(self, tmp_path):
        images, labels, *_ = PatchBatches(
            random_patches(tmp_path / "p.h5"), np.ones(3), 0, 4, PLAIN
        ).make(0)
        assert images.shape == (4, *SIZE, 3) and images.dtype == torch.uint8
        assert labels.shape == (4, *SIZE) and labels.dtype == torch.uint8

    def test_corners_stay_corners_when_an_image_is_scaled(self, tmp_path):
        image = np.random.default_rng(2).integers(0, 256, (1, *CROP, 3), np.uint8)
        path = write_patches(
            tmp_path / "p.h5",
            np.zeros((1, *CROP)),
            np.zeros((1, *CROP)),
            np.zeros((1, *SIZE)),
            image,
        )
        scaled = PatchBatches(path, np.ones(3), 0, 1, PLAIN).make(0)[0][0].numpy()
        assert np.array_equal(scaled[:: SIZE[0] - 1, :: SIZE[1] - 1], image[0, ::3, ::5])

    @pytest.mark.parametrize("tau, kept", [(0.26, True), (0.25, False), (0.24, False)])
    def test_a_label_is_kept_below_the_threshold_of_its_class(self, tmp_path, tau, kept):
        _, label, batches = one_patch(tmp_path / "p.h5", [tau, 1.0, 1.0])
        assert (label == (0 if kept else 255)).all()
        assert batches.empty == (0 if kept else 1)

    def test_the_left_half_may_be_sure_and_the_right_half_not(self, tmp_path):
        entropy = np.zeros(CROP)
        entropy[:, 3:] = 0.75
        _, label, batches = one_patch(tmp_path / "p.h5", [0.5] * 3, entropy=entropy)
        assert (label[:, :6] == 0).all() and (label[:, 6:] == 255).all()
        assert batches.empty == 0

    def test_a_class_that_the_source_lacks_is_never_a_label_not_even_between_others(self, tmp_path):
        """Its threshold is 0; where two classes meet, the mix of probabilities may favour it."""
        label = np.zeros(SIZE)
        label[:, 5] = 2
        _, label, _ = one_patch(tmp_path / "p.h5", [1.0, 1.0, 0.0], label=label)
        assert (label[:, 5] == 255).all()
        assert (np.delete(label, 5, 1) == 0).all()
        _, label, batches = one_patch(
            tmp_path / "q.h5", [1.0, 1.0, 0.0], predicted=2, label=2, entropy=0.0
        )
        assert (label == 255).all() and batches.empty == 1

    def test_crops_of_any_size_are_scaled_up_to_the_working_size(self, tmp_path):
        draws = np.random.default_rng(3)
        sizes = [(4, 6), (2, 3), (8, 12), (3, 12)]
        image = [draws.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
        crop = (8, 12)
        with patches_h5.writing(tmp_path / "p.h5", 4, crop, SIZE) as writer:
            writer.append(
                patches_h5.Patches(
                    list("abcd"),
                    np.zeros((4, 2), np.int32),
                    image,
                    [np.zeros(size, np.uint8) for size in sizes],
                    [np.zeros(size, np.float16) for size in sizes],
                    np.zeros((4, *SIZE), np.uint8),
                )
            )
        batches = PatchBatches(tmp_path / "p.h5", np.ones(3), 0, 4, PLAIN)
        images, labels, *_ = batches.make(0)
        assert (labels == 0).all() and batches.empty == 0
        corners = [view[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() for view in images.numpy()]
        expected = [view[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() for view in image]
        assert sorted(corners) == sorted(expected)

    def test_an_image_that_is_scaled_down_has_its_labels_at_its_place_and_its_mean_colour_around(
        self, tmp_path
    ):
        image = np.full((1, *CROP, 3), 9, np.uint8)
        label = np.full((1, *SIZE), 255, np.uint8)
        top, left, height, width = 2, 1, CROP[0] // 2, CROP[1] // 2
        label[0, top : top + height, left : left + width] = 1
        entropy = np.zeros((1, *CROP), np.float16)
        entropy[0, :, -1] = 0.75
        with patches_h5.writing(tmp_path / "p.h5", 1, CROP, SIZE) as writer:
            writer.append(
                patches_h5.Patches(
                    ["a"], np.zeros((1, 2)), image, np.ones((1, *CROP), np.uint8), entropy, label,
                    np.array([[top, left, height, width]]),
                )
            )  # fmt: skip
        batches = PatchBatches(tmp_path / "p.h5", np.full(3, 0.5), 0, 1, PLAIN)
        images, labels, *_ = batches.make(0)
        taught = label[0] == 1
        taught[:, left + width - 1] = False  # its nearest prediction is in the unsure last column
        assert ((labels[0].numpy() == 1) == taught).all()
        assert ((labels[0].numpy() == 255) == ~taught).all()
        assert (images == 9).all() and batches.empty == 0

    def test_the_released_rules_keep_what_is_undefined_and_its_neighbours(self, tmp_path):
        entropy = np.full(CROP, 0.75)
        entropy[:, 0] = np.nan
        released = {"reliability": "bilinear", "constant_entropy": "nan"}
        _, label, batches = one_patch(tmp_path / "p.h5", [0.5] * 3, entropy=entropy)
        assert (label == 255).all() and batches.empty == 1
        _, label, batches = one_patch(tmp_path / "q.h5", [0.5] * 3, entropy=entropy, **released)
        assert (label == 0).any(0).tolist() == [True] * 3 + [False] * 9  # columns below 11 / 5
        assert batches.empty == 0
        _, label, _ = one_patch(tmp_path / "r.h5", [np.nan] * 3, entropy=1.0, **released)
        assert (label == 0).all()

    def test_without_thresholds_every_class_of_the_source_teaches(self, tmp_path):
        _, label, _ = one_patch(tmp_path / "p.h5", [np.inf, np.inf, 0.0], entropy=1.0)
        assert (label == 0).all()

    def test_patches_without_a_label_are_counted_once(self, tmp_path):
        path = write_patches(
            tmp_path / "p.h5", np.zeros((2, *CROP)), np.ones((2, *CROP)), np.zeros((2, *SIZE))
        )
        batches = PatchBatches(path, np.ones(3), 0, 3, PLAIN)
        for step in range(4):
            batches.make(step)
        assert batches.empty == 2

    def test_a_file_of_another_kind_is_refused(self, tmp_path):
        import h5py

        with h5py.File(tmp_path / "x.h5", "w"):
            pass
        with pytest.raises(UserError, match=r"x\.h5"):
            PatchBatches(tmp_path / "x.h5", np.ones(3), 0, 1, PLAIN)


@pytest.fixture
def source(tmp_path) -> DataSet:
    draws = np.random.default_rng(0)
    images, labels = [], []
    for i in range(5):
        Image.fromarray(draws.integers(0, 256, (*SIZE, 3), np.uint8)).save(tmp_path / f"{i}.png")
        Image.fromarray(draws.integers(0, 3, SIZE, np.uint8)).save(tmp_path / f"{i}_label.png")
        width, height = SIZE[::-1]
        image_hash, label_hash = (
            content_hash(tmp_path / name) for name in (f"{i}.png", f"{i}_label.png")
        )
        images.append(images_csv.ImageRow(str(i), f"{i}.png", width, height, image_hash))
        labels.append(
            labels_csv.LabelRow(str(i), f"{i}_label.png", width, height, label_hash, 0, (1, 1, 1))
        )
    images_csv.write(tmp_path / "images.csv", images)
    labels_csv.write(tmp_path / "labels.csv", labels, ["a", "b", "c"])
    return DataSet(
        tmp_path,
        tmp_path / "images.csv",
        SIZE,
        tmp_path / "labels.csv",
        {"0": 0, "1": 1, "2": 255},
    )


class TestSourceBatches:
    @pytest.mark.parametrize("zoom", [0, 0.5])
    def test_a_batch_is_the_same_whatever_was_made_before(self, source, zoom):
        one = SourceBatches(source, 3, 4, LIVELY, zoom)
        expected = [one.make(step) for step in range(5)]
        other = SourceBatches(source, 3, 4, LIVELY, zoom)
        for step in (4, 0, 2, 2, 1, 3):
            for a, b in zip(other.make(step), expected[step], strict=True):
                assert torch.equal(a, b)

    def test_every_image_comes_once_per_epoch_with_its_own_label(self, source):
        batches = SourceBatches(source, 0, 5, PLAIN)
        images, labels = batches.make(3)
        pairs = [source.pair(i) for i in range(5)]
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            (match,) = [i for i, pair in enumerate(pairs) if np.array_equal(image, pair[0])]
            assert np.array_equal(label, pairs.pop(match)[1])
        assert not pairs
        assert set(np.unique(labels)) == {0, 1, 255}

    def test_the_same_image_is_seen_anew_in_every_epoch(self, source):
        batches = SourceBatches(source, 0, 5, LIVELY)
        views = torch.cat([batches.make(step)[0] for step in range(4)])
        assert len({view.numpy().tobytes() for view in views}) == 20

    def test_the_share_of_zoomed_images_is_that_asked_for(self, source):
        whole = [source.pair(i)[0] for i in range(5)]

        def zoomed(share: float) -> float:
            batches = SourceBatches(source, 0, 10, PLAIN, share)
            images = np.concatenate([batches.make(step)[0].numpy() for step in range(30)])
            return np.mean([not any(np.array_equal(i, w) for w in whole) for i in images])

        assert zoomed(0) == 0
        assert zoomed(1) == 1
        assert zoomed(0.5) == pytest.approx(0.5, abs=0.1)  # 3.5 standard deviations
