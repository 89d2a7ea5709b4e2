"""The benchmarks of speed, at sizes that say nothing of it: that they run, and really compare."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import evaluation
import patch_work
import released_steps
import scoring
from segmentation_like import CONFIDENCE, border_share, draw_logits

SMALL = ["--size", "48", "96", "--classes", "5", "--shares", "0.1", "--repeats", "1", "--seed", "4"]
NUMBER = r"\s+([\d.]+)"


def test_what_is_drawn_has_the_share_of_borders_and_the_confidence_that_were_asked_for():
    for share in (0.05, 0.2):
        logits = draw_logits(7, (64, 96), share, torch.Generator().manual_seed(1))
        assert logits.shape == (1, 7, 64, 96)
        label = logits[0].argmax(0).numpy()
        mixed = [
            len(set(label[y : y + 2, x : x + 2].flat)) > 1 for y in range(63) for x in range(95)
        ]
        assert border_share(logits) == pytest.approx(np.mean(mixed))
        assert np.mean(mixed) == pytest.approx(share, rel=0.2)
        assert logits.softmax(1).amax(1).mean() == pytest.approx(CONFIDENCE, abs=0.03)
    with pytest.raises(ValueError, match="too few classes"):
        draw_logits(1, (32, 32), 0.1, torch.Generator())


def test_the_released_steps_by_hand(tmp_path):
    sure, unsure = [0.97, 0.02, 0.01], [0.5, 0.3, 0.2]
    probabilities = np.array([[sure, sure, unsure, sure[::-1]]] * 2, np.float32).transpose(2, 0, 1)
    normalised = released_steps.normalised_entropy(probabilities)
    np.testing.assert_allclose(normalised[:, :3], [[0, 0, 1]] * 2, atol=1e-6)
    assert np.isnan(normalised[:, 3]).all()  # but one entropy in its class
    tau = np.array([0.5, 0.5, 0.5])
    assert released_steps.reliable(probabilities, normalised, tau).tolist() == [[1, 1, 0, 1]] * 2
    image = np.zeros((2, 4, 3), np.uint8)
    (labels,) = released_steps.make_patches(image, probabilities, tau, [(0, 2)], tmp_path, "a")
    # 1/3 and 2/3 of the way from the unsure pixel to the sure one of the last class
    assert labels.tolist() == [[255, 2, 2, 2]] * 2
    assert len(list(tmp_path.glob("a_0_*.png"))) == 2


def test_patch_work_prints_its_tables(capsys, tmp_path):
    patch_work.main([*SMALL, "--images", "1"])
    printed = capsys.readouterr().out
    assert "seed 4" in printed and "released / ours" in printed
    row = re.search(rf"^[\d.]+%{7 * NUMBER}\s+(\d+) of 18432\s+\d+$", printed, re.MULTILINE)
    assert row and all(float(number) > 0 for number in row.groups()[:7])
    assert re.search(rf"^drawn streets, 10% at a border{3 * NUMBER}$", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("this_project", "'vectorised' differ by no tie"),
        ("vectorised", "'vectorised' differ by no tie"),
        ("vectorised_max", "'with max' differ by no tie"),
        ("released", "the filter of this project and the released one differ"),
    ],
)
def test_patch_work_times_nothing_where_labels_differ(monkeypatch, way, said):
    whole = getattr(patch_work, way)

    def broken(cases, folder):
        results = whole(cases, folder)
        labels = results[0][0] if way != "released" else results[0]
        labels[0][:8] = 1 if way != "released" else 255
        return results

    names = {"vectorised_max": "with max", "this_project": "this project"}
    monkeypatch.setitem(patch_work.WAYS, names.get(way, way), broken)
    monkeypatch.setattr(patch_work, "interleaved", lambda *_: pytest.fail("timed"))
    with pytest.raises(SystemExit, match=said):
        patch_work.main([*SMALL, "--images", "1"])


def test_scoring_prints_its_table(capsys):
    scoring.main(SMALL)
    printed = capsys.readouterr().out
    assert re.search(rf"^cpu\s+[\d.]+%{3 * NUMBER}$", printed, re.MULTILINE)
    assert torch.cuda.is_available() or "CUDA: skipped, there is no device" in printed


@pytest.mark.parametrize("field", [0, 1, 2, 3])
def test_scoring_times_nothing_where_a_score_differs(monkeypatch, field):
    def broken(*arguments):
        found = scoring_statistics(*arguments)
        found[field][0, 0] += 1
        return found

    scoring_statistics = scoring.class_statistics
    monkeypatch.setattr(scoring, "class_statistics", broken)
    with pytest.raises(SystemExit, match="not those of the plain formulas"):
        scoring.main(SMALL)


def test_scoring_times_nothing_where_an_entropy_differs_in_its_last_bit(monkeypatch):
    def broken(probabilities):
        found = confidence(probabilities)
        found.entropy[0, 3, 3] = torch.nextafter(found.entropy[0, 3, 3], torch.tensor(9.0))
        return found

    confidence = scoring.pixel_confidence
    monkeypatch.setattr(scoring, "pixel_confidence", broken)
    with pytest.raises(SystemExit, match="not those of the plain formulas"):
        scoring.main(SMALL)


COARSE = [*SMALL, "--size", "128", "256", "--strides", "2", "4"]


def test_evaluation_prints_its_table(capsys):
    evaluation.main(COARSE)
    printed = capsys.readouterr().out
    for stride in (2, 4):
        row = rf"^{stride}\s+[\d.]+%{6 * NUMBER}\s+(\d+) of 131072$"
        assert re.search(row, printed, re.MULTILINE)


def test_evaluation_times_nothing_where_a_label_or_a_count_differs(monkeypatch):
    def broken(function):
        def changed(*arguments, **options):
            found = function(*arguments, **options)
            found.flat[0] += 1
            return found

        return changed

    def another_class(*arguments, **options):
        labels = scaled_labels(*arguments, **options)
        labels[0, 5, 5] = (labels[0, 5, 5] + 1) % 5
        return labels

    scaled_labels = evaluation.scaled_labels
    monkeypatch.setattr(evaluation, "scaled_labels", another_class)
    with pytest.raises(SystemExit, match="by no tie"):
        evaluation.main(COARSE)
    monkeypatch.setattr(evaluation, "scaled_labels", scaled_labels)
    monkeypatch.setattr(evaluation, "confusion_matrix", broken(evaluation.confusion_matrix))
    with pytest.raises(SystemExit, match="not that of a naive count"):
        evaluation.main(COARSE)
