"""What every stage's script shares: errors, interruptions, progress; and the stages themselves."""

import dataclasses
import fcntl
import io
import json
import logging
import math
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import compute_thresholds
import evaluate
import infer_patches
import reestimate_batchnorm
import retrain
import score_target
import train_source
from scalewise import job as job_module
from scalewise import progress as progress_module
from scalewise.artifacts import (
    images_csv,
    iou_csv,
    labels_csv,
    optimizer_file,
    patches_h5,
    predictions_h5,
    scores_csv,
    selected_csv,
    source_csv,
    table,
    thresholds_csv,
)
from scalewise.artifacts.hashing import content_hash
from scalewise.data import reading
from scalewise.errors import UserError
from scalewise.inference import full_logits
from scalewise.job import Job
from scalewise.models import store
from scalewise.models.compact import Compact
from scalewise.models.precision import FLOAT32
from scalewise.progress import Progress
from scalewise.training.patch_batches import PatchBatches

SCRIPTS = Path(job_module.__file__).parents[1]
KEY = "0123456789abcdef"
PROGRAM = """
import logging, os, sys, time
from scalewise.errors import UserError
from scalewise.job import run

def work(job):
    job.output("a.txt").parent.mkdir(parents=True, exist_ok=True)
    job.output("a.txt").write_text("done")
    job.notes["told"] = "this"
    what = job.settings["what"]
    if what == "user":
        raise UserError("data.root: no such folder; set it")
    if what == "broken":
        raise ZeroDivisionError("division by zero")
    if what == "wait":
        job.progress.start(10, "step")
        print("waiting", flush=True)
        time.sleep(60)
    if what == "late":  # a signal when all is done
        remove = job.state.remove
        job.state.remove = lambda: (os.kill(os.getpid(), int(sys.argv[-1])), remove())
    if what == "bar":
        job.progress.start(4, "image")
        for _ in range(4):
            time.sleep(0.15)
            job.progress.advance(1, loss=0.5)

run(work, "What it does.")
"""


def describe(what: str = "") -> dict:
    return {
        "stage": "test_stage",
        "key": KEY,
        "title": "lse, seed 0: testing",
        "folder": f"results/test_stage/{KEY}",
        "settings": {"what": what, "seed": 3},
        "contents": {},
        "locations": {},
        "inputs": {},
        "identity": "i",
        "code": "c",
    }


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    (tmp_path / "program.py").write_text(PROGRAM)

    def begin(what: str = "", *options: str, **streams) -> subprocess.Popen:
        (tmp_path / "stage.json").write_text(json.dumps(describe(what)))
        return subprocess.Popen(
            [sys.executable, "program.py", "stage.json", *options],
            cwd=tmp_path,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )

    return begin


def progress_of(folder: Path) -> dict:
    return json.loads((folder / f"results/progress/test_stage-{KEY}.json").read_text())


class TestRun:
    def test_a_stage_that_ends_well_writes_its_settings_last(self, start, tmp_path):
        job = start("", "--threads", "2", "--log", "logs/x.log")
        assert job.communicate() == ("", "") and job.returncode == 0
        folder = tmp_path / f"results/test_stage/{KEY}"
        written = json.loads((folder / "settings.json").read_text())
        assert written["settings"] == {"what": "", "seed": 3}
        assert (written["seed"], written["threads"], written["key"]) == (3, 2, KEY)
        assert written["versions"]["torch"] == torch.__version__.split("+")[0] or (
            written["versions"]["torch"] == torch.__version__
        )
        assert written["notes"] == {"told": "this"}
        times = [(folder / name).stat().st_mtime_ns for name in ("a.txt", "settings.json")]
        assert times == sorted(times)
        assert not list((tmp_path / "results/progress").iterdir())
        log = (tmp_path / "logs/x.log").read_text()
        assert "lse, seed 0: testing" in log and "finished in" in log

    @pytest.mark.parametrize("log", [True, False])
    def test_a_user_s_mistake_is_one_message_and_no_traceback(self, start, tmp_path, log):
        job = start("user", *(["--log", "x.log"] if log else []))
        _, said = job.communicate()
        assert job.returncode == 1
        assert said.count("data.root: no such folder; set it") == 1
        assert "lse, seed 0: testing" in said
        assert "Traceback" not in said
        if log:
            assert len(said.strip().splitlines()) == 2
            assert "Traceback" not in (tmp_path / "x.log").read_text()
            assert "data.root" in (tmp_path / "x.log").read_text()
        progress = progress_of(tmp_path)
        assert progress["state"] == "failed" and "data.root" in progress["detail"]
        assert not (tmp_path / f"results/test_stage/{KEY}/settings.json").exists()

    def test_an_unexpected_error_has_its_traceback_in_the_log_alone(self, start, tmp_path):
        job = start("broken", "--log", "x.log")
        _, said = job.communicate()
        assert job.returncode == 1
        assert "unexpected ZeroDivisionError: division by zero; details in x.log" in said
        assert "Traceback" not in said
        assert "Traceback" in (tmp_path / "x.log").read_text()
        assert progress_of(tmp_path)["state"] == "failed"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_job_that_is_told_to_stop_says_interrupted(self, start, tmp_path, number):
        job = start("wait", "--log", "x.log")
        assert job.stdout.readline() == "waiting\n"
        job.send_signal(number)
        _, said = job.communicate(timeout=10)
        assert job.returncode == 130
        assert said == ""
        assert progress_of(tmp_path)["state"] == "interrupted"
        assert "interrupted; the next run goes on" in (tmp_path / "x.log").read_text()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_after_the_end_of_the_work_undoes_nothing(self, start, tmp_path, number):
        """The engine takes away what a job that ends with an error has made."""
        job = start("late", "--save-steps", str(int(number)))
        job.communicate()
        assert job.returncode == 0
        assert (tmp_path / f"results/test_stage/{KEY}/settings.json").exists()

    def test_a_second_process_of_a_stage_leaves_the_progress_of_the_first_alone(
        self, start, tmp_path
    ):
        first = start("wait")
        assert first.stdout.readline() == "waiting\n"
        second = start("wait")
        _, said = second.communicate()
        assert second.returncode == 1 and f"process {first.pid} already works" in said
        progress = progress_of(tmp_path)
        assert (progress["state"], progress["pid"]) == ("running", first.pid)
        first.terminate()
        first.communicate()

    def test_what_a_killed_job_was_writing_is_cleared_away(self, start, tmp_path):
        left = tmp_path / f"results/test_stage/{KEY}/images/.a.png.7.tmp"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        assert start("").wait() == 0
        assert not left.exists()

    def test_a_log_that_cannot_be_written_hides_no_message(self, start):
        job = start("user", "--log", "/dev/full")
        _, said = job.communicate()
        assert len(said.strip().splitlines()) == 2 and "data.root: no such folder" in said
        job = start("user", "--log", "/proc/x.log")
        _, said = job.communicate()
        assert job.returncode == 1 and "/proc/x.log" in said and "Traceback" not in said

    def test_a_running_job_tells_what_it_is_and_how_far(self, start, tmp_path):
        job = start("wait")
        assert job.stdout.readline() == "waiting\n"
        progress = progress_of(tmp_path)
        assert progress["state"] == "running" and progress["pid"] == job.pid
        assert progress["title"] == "lse, seed 0: testing"
        assert (progress["step"], progress["steps"], progress["unit"]) == (0, 10, "step")
        job.terminate()
        job.communicate()

    def test_a_missing_description_is_named(self, start, tmp_path):
        job = start("", stdout=subprocess.DEVNULL)
        job.communicate()
        again = subprocess.run(
            [*job.args[:2], "nothing.json"], cwd=tmp_path, capture_output=True, text=True
        )
        assert again.returncode == 2
        assert "nothing.json: no stage description" in again.stderr
        assert "Traceback" not in again.stderr

    def test_a_person_who_watches_sees_a_bar(self, start, tmp_path):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        job = start("bar", "--log", "x.log", stderr=theirs)
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], 10)[0]:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            said += part
        os.close(ours)
        job.communicate()
        assert job.returncode == 0
        text = said.decode()
        assert "lse, seed 0: testing" in text and "/4" in text and "loss=0.500" in text

    def test_nobody_who_watches_is_shown_no_bar(self, start):
        assert start("bar", "--log", "x.log").communicate() == ("", "")

    def test_a_package_of_another_name_is_no_reason_to_fail(self):
        assert job_module._version("torch")
        assert job_module._version("no-such-distribution-here") is None


@pytest.mark.parametrize("stage", ["select_images", "compute_thresholds", "train_source"])
def test_every_script_has_a_manual(stage):
    result = subprocess.run(
        [sys.executable, SCRIPTS / f"{stage}.py", "--help"], capture_output=True, text=True
    )
    assert result.returncode == 0
    assert f"{stage}: " in result.stdout and "--threads" in result.stdout


class TestProgress:
    def test_lines_in_the_log_tell_step_rate_time_left_and_numbers(
        self, tmp_path, monkeypatch, caplog
    ):
        now = [1000.0]
        monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
        path = tmp_path / "p.json"
        progress = Progress(path, "title")
        progress.start(100, "step", first=40)
        with caplog.at_level(logging.INFO):
            for _ in range(20):
                now[0] += 1
                progress.advance(1, loss=1.25)
        # 15 s after the start: 15 of the 60 steps that were left
        assert [r.getMessage() for r in caplog.records] == [
            "step 55 of 100, 1.0 per second, 0:00:45 left, loss 1.2500"
        ]
        content = json.loads(path.read_text())
        assert (content["step"], content["steps"], content["rate"]) == (60, 100, 1.0)
        assert content["seconds_left"] == 40.0 and content["said"] == {"loss": 1.25}

    def test_the_bar_of_a_job_that_goes_on_begins_where_it_stopped(self, tmp_path, monkeypatch):
        screen = io.StringIO()
        screen.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", screen)
        progress = Progress(tmp_path / "p.json", "title")
        progress.start(100, "step", first=40)
        progress.close("interrupted")
        assert "40/100" in screen.getvalue()

    def test_the_file_goes_when_the_job_has_finished_and_stays_when_it_failed(self, tmp_path):
        path = tmp_path / "p.json"
        Progress(path, "title").close("failed", "why")
        assert json.loads(path.read_text())["detail"] == "why"
        Progress(path, "title").close("finished")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_cannot_be_written_does_not_end_the_work(self, tmp_path, caplog):
        (tmp_path / "file").write_text("")
        progress = Progress(tmp_path / "file" / "p.json", "title")
        progress.start(1, "step")
        progress.advance()
        assert "progress not written" in caplog.text

    def test_nothing_divides_by_zero_before_the_first_step(self, tmp_path, monkeypatch):
        monkeypatch.setattr(progress_module.time, "monotonic", lambda: 5.0)
        progress = Progress(tmp_path / "p.json", "title")
        progress.start(0, "step")
        progress.advance(0)
        progress.close("interrupted")
        assert json.loads((tmp_path / "p.json").read_text())["seconds_left"] is None


# --- the stages, on a network of toy size -------------------------------------------------------

CLASSES = ["road", "car", "sky"]
COLORS = [[0, 0, 0], [9, 9, 9], [99, 99, 99]]
SIZE = (16, 24)
NETWORK = {
    "name": "compact",
    "width": 8,
    "dropout": 0.1,
    "preprocessing": {"order": "rgb", "mean": [120.0] * 3, "scale": [60.0] * 3},
}
OPTIMIZER = {
    "name": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "momentum": 0.9, "beta2": 0.999,
    "bias_rate": 1.0, "classifier_rate": 1.0,
}  # fmt: skip
POLY = {
    "name": "poly", "power": 0.9, "horizon": None, "drop_every": 1000, "drop_factor": 0.1,
    "warmup": 0,
}  # fmt: skip
PLAIN = {
    "flip": True, "scale": [1, 1], "brightness": 0, "contrast": 0, "saturation": 0,
    "channel_gain": 0, "gamma": 0, "blur": 0,
}  # fmt: skip
RETRAINING = {
    "classes": CLASSES,
    "seed": 0,
    "round": 1,
    "label_ids": {"0": 0, "1": 1, "2": 2},
    "source_size": list(SIZE),
    "extra_images": 0,
    "empty_patch": "zero",
    "carry_optimizer": False,
    "reliability": "nearest",
    "constant_entropy": "zero",
    "per_image": 2,
    "epochs": 2,
    "source_batch": 2,
    "target_batch": 2,
    "target_weight": 1.0,
    "source_zoom": 0.0,
    "freeze_batchnorm": True,
    "focal": {"beta": 0.1, "gamma": 3.0, "over": "pixels"},
    "optimizer": OPTIMIZER,
    "schedule": POLY,
    "augmentation": PLAIN,
    "target_augmentation": PLAIN,
    "rare_classes": None,
    "class_mix": 0,
    "label_weights": "mask",
    "target_colors": 0,
    "own_statistics": False,
    "teacher": {"momentum": 0},
    "consistency": 0,
    "anchor": 0,
}

TRAINING = {
    "classes": CLASSES, "size": list(SIZE), "source_size": list(SIZE), "seed": 0,
    "freeze_batchnorm": False, "label_ids": RETRAINING["label_ids"],
    "network": NETWORK, "steps": 3, "batch": 2, "optimizer": OPTIMIZER,
    "schedule": {**POLY, "name": "constant"}, "augmentation": PLAIN,
    "rare_classes": None,
}  # fmt: skip
EVALUATION = {
    "classes": CLASSES, "colors": COLORS, "label_ids": {"0": 0, "1": 1, "2": 255},
    "pictures": 3,
}  # fmt: skip


def require_no_label(*args):
    raise AssertionError(f"a label was opened: {args}")


@contextmanager
def stopped_before_step_4(monkeypatch):
    """A training within this finds a source image gone, and keeps the state of the steps before."""
    make = retrain.SourceBatches.make

    def gone(self, step, places):
        if step == 4:
            raise UserError("a file is gone")
        return make(self, step, places)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="gone"):
        patch.setattr(retrain.SourceBatches, "make", gone)
        yield


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with 10 images and labels, a model, and a way to run a stage on them."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    draws = np.random.default_rng(0)
    images, labels = [], []
    for i in range(10):
        Image.fromarray(draws.integers(0, 256, (*SIZE, 3), np.uint8)).save(f"{i}.png")
        Image.fromarray(draws.integers(0, 3, (20, 30), np.uint8)).save(f"{i}_label.png")
        hashes = [content_hash(f"{i}{kind}.png") for kind in ("", "_label")]
        images.append(images_csv.ImageRow(f"i{i}", f"{i}.png", SIZE[1], SIZE[0], hashes[0]))
        labels.append(
            labels_csv.LabelRow(f"i{i}", f"{i}_label.png", 30, 20, hashes[1], 0, (1, 1, 1))
        )
    images_csv.write("images.csv", images)
    labels_csv.write("labels.csv", labels, CLASSES)
    torch.manual_seed(0)
    network = store.build(NETWORK, len(CLASSES)).train()
    network(torch.randn(4, 3, *SIZE))
    store.save("model.safetensors", network, NETWORK, CLASSES, SIZE)
    selected_csv.write(
        "selected.csv", [selected_csv.SelectedRow(k, f"i{k}", ("road",), 0.9) for k in (3, 1, 7)]
    )

    def stage(work, folder: str, settings: dict, **inputs: str) -> Job:
        description = {
            **describe(),
            "folder": folder,
            "stage": work.__name__,
            "key": folder,
            "settings": {"precision": FLOAT32, **settings},
            "inputs": {role: {"path": path} for role, path in inputs.items()},
            "locations": {"source": ".", "target": ".", "validation": "."},
        }
        job = Job(description, 1, 1)
        Path(folder).mkdir(exist_ok=True)
        work(job)
        return job

    yield stage
    torch.use_deterministic_algorithms(False)


SOURCE = {"source_images": "images.csv", "source_labels": "labels.csv"}
MODEL = {"model": "model.safetensors"}
TARGET = {"target_images": "images.csv"}

ONE_VIEW = {"scales": [1.0], "flip": False}
SCORING = {
    "classes": CLASSES, "constant_entropy": "zero", "prediction": ONE_VIEW,
    "label_ids": {**RETRAINING["label_ids"], "9": 255, "255": 255},
}  # fmt: skip
NORMING = {"share": 1, "layers": "all"}


FIELDS = ("image", "predicted", "entropy", "label", "position")


class TestStages:
    def patches(self, stage, folder: str = "patches", scale: float = 2, **changes) -> Job:
        settings = {
            "classes": CLASSES, "seed": 0, "round": 1, "per_image": 2, "scale": scale,
            "claim_images": 2, "constant_entropy": "zero", "resample": False, "extra_images": 0,
            "prediction": ONE_VIEW, **changes,
        }  # fmt: skip
        return stage(
            infer_patches.infer, folder, settings,
            **MODEL, selected="selected.csv", target_images="images.csv",
        )  # fmt: skip

    def test_no_label_of_the_target_is_opened_where_it_is_scored_cut_or_measured(
        self, world, monkeypatch
    ):
        source = write_source([labels_of((1, SIZE[0] * SIZE[1])), labels_of((2, 5))])
        opened, read = [], reading.read_label_ids

        def reads(content, *mode):
            opened.append(content)
            return read(content, *mode)

        with monkeypatch.context() as patched:
            patched.setattr(reading, "read_label_ids", reads)
            world(score_target.score, "scores", SCORING, **MODEL, **TARGET, **source)
        # the labels of the source, and none that lies beside a target image
        assert opened == [Path(f"source/{k}_label.png").read_bytes() for k in range(2)]
        monkeypatch.setattr(reading, "read_label_ids", require_no_label)
        self.patches(world)
        world(reestimate_batchnorm.reestimate, "bn", NORMING, **MODEL, **TARGET)

    def test_scores_count_every_pixel_of_every_image(self, world):
        world(score_target.score, "scores", SCORING, **MODEL, **TARGET, **SOURCE)
        scores = scores_csv.read("scores/scores.csv", CLASSES)
        assert scores.images == [f"i{k}" for k in range(10)]
        assert (scores.pixels.sum(1) == SIZE[0] * SIZE[1]).all()
        seen = scores.pixels > 0
        assert (scores.mean_probability[seen] >= 1 / 3).all()
        assert (scores.mean_entropy[seen] <= 1).all()
        assert (scores.entropy[seen] > 0).all() and (scores.entropy[seen] <= np.log(3)).all()

    def test_predictions_are_the_networks_own_in_the_order_of_the_scores(self, world):
        world(score_target.score, "scores", SCORING, **MODEL, **TARGET, **SOURCE)
        scores = scores_csv.read("scores/scores.csv", CLASSES)
        model = store.load("model.safetensors")
        model.network.eval()
        with predictions_h5.reading("scores/predictions.h5") as reader:
            assert reader.image_id == scores.images and reader.shape == (10, 4, 6)
            stored = np.concatenate(list(reader.blocks()))
        for k in range(10):
            image = torch.from_numpy(np.asarray(Image.open(f"{k}.png")).copy())[None]
            predicted = full_logits(model, image, torch.device("cpu")).argmax(1)[0].numpy()
            # torch may sum a batch of one in another order: a tie may fall the other way
            assert (stored[k] == predicted[::4, ::4]).mean() > 0.95
            assert np.abs(np.bincount(predicted.ravel(), minlength=3) - scores.pixels[k]).sum() < 8

    def test_patches_are_crops_of_the_selected_images_in_their_order(self, world):
        self.patches(world)
        reader = patches_h5.PatchReader("patches/patches.h5")
        assert reader.image_id == ["i3", "i3", "i1", "i1", "i7", "i7"]
        assert reader.crop == (8, 12)
        content = reader.read(slice(None), ("image", "position", "label"))
        for name, crop, (top, left) in zip(
            reader.image_id, content["image"], content["position"], strict=True
        ):
            whole = np.asarray(Image.open(f"{name[1:]}.png"))
            assert np.array_equal(crop, whole[top : top + 8, left : left + 12])
        assert content["label"].shape == (6, *SIZE)
        # two sampled images, two crops each
        assert reader.claim()["scaled_pixels"].sum() == 4 * SIZE[0] * SIZE[1]

    def test_where_views_disagree_no_pixel_teaches_and_nothing_else_changes(self, world):
        model = store.load("model.safetensors")
        model.network.eval()
        image = torch.from_numpy(np.asarray(Image.open("3.png")).copy())[None]
        logits = full_logits(model, image, torch.device("cpu"))
        with torch.no_grad():
            model.network.classifier.bias -= logits.mean((0, 2, 3))  # several classes are predicted
        store.save("model.safetensors", model.network, NETWORK, CLASSES, SIZE)
        views = {"scales": [1.0, 1.5], "flip": True}
        self.patches(world, "mean", prediction=views)
        self.patches(world, "agreeing", prediction={**views, "agreement": True})
        mean, agreeing = (
            patches_h5.PatchReader(f"{f}/patches.h5").read(slice(None), FIELDS)
            for f in ("mean", "agreeing")
        )
        apart = np.isinf(agreeing["entropy"])
        assert 0 < apart.sum() < apart.size and not np.isinf(mean["entropy"]).any()
        np.testing.assert_array_equal(agreeing["entropy"][~apart], mean["entropy"][~apart])
        for name in ("image", "predicted", "label", "position"):
            np.testing.assert_array_equal(agreeing[name], mean[name])

    def test_repeated_and_further_images_get_further_crops(self, world):
        self.patches(world, "again", extra_images=1)
        reader = patches_h5.PatchReader("again/patches.h5")
        assert reader.image_id == ["i3", "i3", "i1", "i1", "i7", "i7", "i3", "i3"]
        places = reader.read(slice(None), ("position",))["position"].tolist()
        assert places[0:2] != places[6:8]
        self.patches(world, "drawn", resample=True, round=2)
        drawn = patches_h5.PatchReader("drawn/patches.h5").image_id
        assert len(drawn) == 6 and set(drawn) <= {"i1", "i3", "i7"}

    def test_patches_of_several_scales_are_cut_in_their_sizes(self, world):
        self.patches(world, scale=[2, 4])
        reader = patches_h5.PatchReader("patches/patches.h5")
        sizes = [reader.patch(k, ("predicted",))["predicted"].shape for k in range(len(reader))]
        assert sizes == [(8, 12), (4, 6)] * 3

    def test_an_image_scaled_down_is_stored_whole_with_its_place_and_no_label_around_it(
        self, world
    ):
        self.patches(world, scale=[0.5, 2])
        reader = patches_h5.PatchReader("patches/patches.h5")
        assert reader.image_id == ["i3", "i3", "i1", "i1", "i7", "i7"] and reader.crop == SIZE
        for k in (0, 2, 4):
            read = reader.patch(k, ("image", "predicted", "label", "place", "position"))
            whole = np.asarray(Image.open(f"{reader.image_id[k][1:]}.png"))
            assert np.array_equal(read["image"], whole) and read["position"].tolist() == [0, 0]
            top, left, height, width = read["place"].tolist()
            assert (height, width) == (8, 12)
            there = np.zeros(SIZE, bool)
            there[top : top + height, left : left + width] = True
            assert ((read["label"] == 255) == ~there).all()
            up = reader.patch(k + 1, ("label", "place"))
            assert up["place"].tolist() == [0, 0, *SIZE] and (up["label"] < 3).all()
        # of the two sampled images the crop that is scaled up, each
        assert reader.claim()["scaled_pixels"].sum() == 2 * SIZE[0] * SIZE[1]

    def test_a_crop_as_large_as_its_image_is_cut_once(self, world):
        self.patches(world, scale=1)
        reader = patches_h5.PatchReader("patches/patches.h5")
        assert reader.image_id == ["i3", "i1", "i7"]
        content = reader.read(slice(None), ("predicted", "label"))
        assert np.array_equal(content["predicted"], content["label"])

    def test_retraining_makes_its_steps_and_counts_all_terms(self, world):
        self.patches(world)
        rows = [thresholds_csv.ThresholdRow(c, 0.9, "", 1, 1, 0.5, 9) for c in CLASSES]
        thresholds_csv.write("thresholds.csv", rows)
        job = world(
            retrain.retrain, "retrained", RETRAINING, **MODEL, **SOURCE,
            selected="selected.csv", patches="patches/patches.h5", thresholds="thresholds.csv",
        )  # fmt: skip
        assert job.notes == {"steps": 6, "selected": 3}  # 3 images * 2 epochs * 2 patches / 2
        columns = dict.fromkeys(("step", "loss", "source", "patch", "focal"), float)
        log = {k: np.array(v) for k, v in table.read("retrained/training.csv", columns).items()}
        assert len(log["step"]) == 6
        assert log["loss"] == pytest.approx(log["source"] + log["patch"] + log["focal"], rel=1e-6)
        assert (log["focal"] > 0).all()
        before = store.load("model.safetensors").network.state_dict()
        after = store.load("retrained/model.safetensors").network.state_dict()
        still = {k for k in before if torch.equal(before[k], after[k])}
        assert still == {k for k in before if "running_" in k or "num_batches" in k}

    LATER = {
        "class_mix": {"class_mix": 1.0},
        "soft weights": {"label_weights": "confidence"},
        "teacher": {"teacher": {"momentum": 0.9, "confidence": 0.4, "labels": "hard"}},
        "teacher's probabilities": {
            "class_mix": 0.5, "teacher": {"momentum": 0.9, "confidence": 0.4, "labels": "soft"},
        },
        "consistency": {"consistency": 0.5},
        "rare classes": {"rare_classes": 0.05},
        "anchor": {"anchor": 50.0},
        "all": {
            "class_mix": 0.5, "consistency": 0.5,
            "teacher": {"momentum": 0.9, "confidence": 0.4, "labels": "hard"},
            "rare_classes": 0.05, "anchor": 50.0,
        },
    }  # fmt: skip

    @pytest.mark.parametrize("what", LATER)
    def test_what_later_papers_add_has_an_effect_and_goes_on_in_the_same_bits(
        self, world, what, monkeypatch
    ):
        self.patches(world)
        rows = [thresholds_csv.ThresholdRow(c, 0.9, "", 1, 1, 0.5, 9) for c in CLASSES]
        thresholds_csv.write("thresholds.csv", rows)

        def trained(folder, settings):
            world(
                retrain.retrain, folder, settings, **MODEL, **SOURCE, source_model=MODEL["model"],
                selected="selected.csv", patches="patches/patches.h5", thresholds="thresholds.csv",
            )  # fmt: skip
            return {
                name: Path(folder, name).read_bytes()
                for name in ("model.safetensors", "training.csv")
            }

        settings = {**RETRAINING, **self.LATER[what]}
        whole = trained("whole", settings)
        assert whole != trained("plain", RETRAINING)
        with stopped_before_step_4(monkeypatch):
            trained("stopped", settings)
        assert trained("stopped", settings) == whole

    def test_no_stage_lets_the_lower_precision_out_of_the_network(self, world, monkeypatch):
        """All stages in bfloat16: it is on in every pass, and what softmax and loss get is not."""
        passes, forward = [], Compact.forward

        def watched(network, images):
            passes.append(torch.is_autocast_enabled("cpu"))
            found = forward(network, images)
            assert found.dtype is torch.bfloat16
            return found

        def of_float32(function):
            def call(values, *args, **kwargs):
                assert values.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
                return function(values, *args, **kwargs)

            return call

        monkeypatch.setattr(Compact, "forward", watched)
        for place, name in (
            (torch.Tensor, "softmax"), (torch, "softmax"), (torch, "log_softmax"),
            (torch.nn.functional, "cross_entropy"),
        ):  # fmt: skip
            monkeypatch.setattr(place, name, of_float32(getattr(place, name)))
        lower = {"precision": {**FLOAT32, "autocast": "bfloat16"}}
        views = {"prediction": {"scales": [1.0, 1.5], "flip": True}}
        world(
            score_target.score, "scores", {**SCORING, **views, **lower}, **MODEL, **TARGET, **SOURCE
        )
        world(reestimate_batchnorm.reestimate, "bn", {**NORMING, **lower}, **MODEL, **TARGET)
        self.patches(world, **lower)
        rows = [thresholds_csv.ThresholdRow(c, 0.9, "", 1, 1, 0.5, 9) for c in CLASSES]
        thresholds_csv.write("thresholds.csv", rows)
        for what in ("all", "teacher's probabilities"):
            world(
                retrain.retrain, what, {**RETRAINING, **self.LATER[what], **lower}, **MODEL,
                **SOURCE, source_model=MODEL["model"], selected="selected.csv",
                patches="patches/patches.h5", thresholds="thresholds.csv",
            )  # fmt: skip
        world(train_source.train_source, "trained", {**TRAINING, **lower}, **SOURCE)
        world(
            evaluate.evaluate, "evaluated", {**EVALUATION, **lower}, **MODEL,
            validation_images="images.csv", validation_labels="labels.csv",
        )  # fmt: skip
        assert len(passes) > 20 and all(passes)

    def test_each_domain_may_pass_with_its_own_batch_norm_statistics(self, world, monkeypatch):
        self.patches(world)
        rows = [thresholds_csv.ThresholdRow(c, 0.9, "", 1, 1, 0.5, 9) for c in CLASSES]
        thresholds_csv.write("thresholds.csv", rows)
        world(reestimate_batchnorm.reestimate, "bn", NORMING, **MODEL, **TARGET)

        def trained(folder, own, source_model="model.safetensors", **changes):
            world(
                retrain.retrain, folder, {**RETRAINING, "own_statistics": own, **changes}, **SOURCE,
                model="bn/model.safetensors", source_model=source_model,
                selected="selected.csv", patches="patches/patches.h5", thresholds="thresholds.csv",
            )  # fmt: skip
            return Path(folder, "model.safetensors").read_bytes()

        own = trained("own", True)
        assert own != trained("shared", False)
        before, after = (
            store.load(f"{f}/model.safetensors").network.state_dict() for f in ("bn", "own")
        )
        for key, value in after.items():
            kept = "running_" in key or "num_batches" in key
            assert torch.equal(value, before[key]) == kept, key
        # where both domains have the same statistics it is the training that they share
        same = trained("same", True, "bn/model.safetensors")
        close = [
            store.load(f"{f}/model.safetensors").network.state_dict() for f in ("same", "shared")
        ]
        assert all(torch.allclose(close[0][k], close[1][k], atol=1e-4) for k in close[0])
        assert same != own
        with stopped_before_step_4(monkeypatch):
            trained("stopped", True)
        assert trained("stopped", True) == own

    def test_thresholds_that_keep_nothing_at_all_stop_before_training(self, world):
        self.patches(world)
        settings = {
            "classes": CLASSES, "portion": 0.9, "scope": "class", "minimum_per_class": 1,
            "min_pixels": 1, "missing_classes": "ignore", "estimator": "at_rank",
            "constant_entropy": "zero",
        }  # fmt: skip
        inputs = {
            "scores": "scores.csv", "source_labels": "labels.csv", "patches": "patches/patches.h5",
        }  # fmt: skip

        def computed(folder, entropy, **changes):
            ones = np.ones((10, len(CLASSES)))
            scores = scores_csv.Scores(
                [f"i{k}" for k in range(10)], ones.astype(int), ones / 2, entropy * ones, ones
            )
            scores_csv.write("scores.csv", scores, CLASSES)
            world(compute_thresholds.compute, folder, {**settings, **changes}, **inputs)
            return thresholds_csv.read(f"{folder}/thresholds.csv")

        with pytest.raises(UserError, match="no pixel of any patch is reliable"):
            computed("none", 0.0)
        some = computed("some", 0.5)
        assert any(row.kept > 0 for row in some)
        # 3 images, 2 crops each, of 8 x 12 pixels: every pixel is seen once
        assert sum(row.seen for row in some) == 6 * 8 * 12
        assert all(np.isnan(row.kept) == (row.seen == 0) for row in some)
        assert all(row.tau == np.inf for row in computed("all", 0.0, estimator="none"))
        rates = computed("rate", 0.0, estimator="rate", portion=0.5)
        for row in rates:
            assert row.image == "" and row.ranked == 10
            # half of its pixels, but for those that are as sure as the last
            assert row.tau == 1 if row.seen == 0 else abs(row.kept - 0.5) < 0.1
        assert any(row.seen for row in rates)

    def retrained(
        self, world, folder: str, changes: dict, tau: float = 0.9, **inputs
    ) -> tuple[dict, dict]:
        """Weights and the columns of training.csv after retraining with these changes."""
        if not Path("patches").exists():
            self.patches(world)
        rows = [thresholds_csv.ThresholdRow(c, tau, "", 1, 1, 0.5, 9) for c in CLASSES]
        thresholds_csv.write("thresholds.csv", rows)
        world(
            retrain.retrain, folder, {**RETRAINING, **changes}, **{**MODEL, **inputs}, **SOURCE,
            selected="selected.csv", patches="patches/patches.h5", thresholds="thresholds.csv",
        )  # fmt: skip
        columns = dict.fromkeys(("loss", "source", "patch", "focal"), float)
        weights = store.load(f"{folder}/model.safetensors").network.state_dict()
        return weights, table.read(f"{folder}/training.csv", columns)

    def test_sources_of_another_size_are_passed_apart_with_the_same_losses(
        self, world, monkeypatch
    ):
        together, one = self.retrained(world, "one", {})
        # equal sizes, but told that they differ: two passes of the same images
        with monkeypatch.context() as patched:
            patched.setattr(retrain, "_fit", lambda *sizes: False)
            apart, two = self.retrained(world, "two", {})
        for name in one:
            assert one[name] == pytest.approx(two[name], rel=1e-4)
        for name, value in together.items():
            assert torch.allclose(value.float(), apart[name].float(), atol=1e-4), name
        _, columns = self.retrained(world, "larger", {"source_size": [32, 32]})
        assert len(columns["loss"]) == 6
        total = np.array(columns["source"]) + columns["patch"] + columns["focal"]
        assert columns["loss"] == pytest.approx(total, rel=1e-5)

    def test_moments_go_on_from_round_to_round_only_when_told(self, world):
        alone, _ = self.retrained(world, "alone", {})
        assert optimizer_file.read("alone/optimizer.safetensors") == {}
        first, _ = self.retrained(world, "first", {"carry_optimizer": True})
        assert all(torch.equal(alone[k], first[k]) for k in alone)
        moments = optimizer_file.read("first/optimizer.safetensors")
        assert {k.rpartition("/")[2] for k in moments} == {"exp_avg", "exp_avg_sq", "step"}
        assert moments["classifier.bias/step"] == 6
        second, _ = self.retrained(
            world, "second", {"carry_optimizer": True, "round": 2},
            optimizer="first/optimizer.safetensors",
        )  # fmt: skip
        fresh, _ = self.retrained(world, "fresh", {"carry_optimizer": True, "round": 2})
        assert not torch.equal(second["classifier.bias"], fresh["classifier.bias"])
        moments = optimizer_file.read("second/optimizer.safetensors")
        assert moments["classifier.bias/step"] == 12

    def test_a_patch_without_a_label_logs_nan_where_asked_and_teaches_the_same(self, world):
        zero, told = self.retrained(world, "zero", {}, tau=0.0)
        assert told["loss"] == told["source"]
        nan, told = self.retrained(world, "nan", {"empty_patch": "nan"}, tau=0.0)
        assert np.isnan(told["loss"]).all() and np.isfinite(told["source"]).all()
        assert all(torch.equal(zero[k], nan[k]) for k in zero)

    def test_without_a_target_weight_no_patch_is_read(self, world, monkeypatch):
        monkeypatch.setattr(PatchBatches, "__init__", require_no_label)
        settings = {**RETRAINING, "target_weight": 0.0, "source_zoom": 0.5}
        job = world(
            retrain.retrain, "control", settings, **MODEL, **SOURCE, selected="selected.csv"
        )
        assert job.notes["steps"] == 6
        columns = table.read("control/training.csv", {"patch": float, "focal": float})
        assert columns == {"patch": [0.0] * 6, "focal": [0.0] * 6}

    @pytest.mark.parametrize(
        "selected, epochs, per_image, batch, steps",
        [(3, 2, 4, 1, 24), (3, 2, 4, 4, 6), (5, 1, 1, 4, 2), (100, 2, 4, 4, 200), (0, 2, 4, 4, 0)],
    )
    def test_steps_are_patches_times_epochs_over_the_batch_rounded_up(
        self, selected, epochs, per_image, batch, steps
    ):
        settings = {"epochs": epochs, "per_image": per_image, "target_batch": batch}
        assert retrain.step_count(selected, {**settings, "extra_images": 0}) == steps
        more = retrain.step_count(selected, {**settings, "extra_images": 7})
        assert more == retrain.step_count(selected + 7, {**settings, "extra_images": 0})

    def test_training_twice_writes_the_same_bytes_and_another_seed_does_not(self, world):
        for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
            world(train_source.train_source, folder, {**TRAINING, "seed": seed}, **SOURCE)
        files = ("model.safetensors", "training.csv")
        one, two, three = (
            [Path(f, x).read_bytes() for x in files] for f in ("one", "two", "three")
        )
        assert one == two
        assert one[0] != three[0] and one[1] != three[1]
        assert not list(Path("results/state").glob("*"))

    def test_batch_norm_statistics_are_the_means_over_all_images(self, world):
        """10 images come as 8 and 2: each counts alike."""
        world(reestimate_batchnorm.reestimate, "bn", NORMING, **MODEL, **TARGET)
        before, after = (store.load(p) for p in ("model.safetensors", "bn/model.safetensors"))
        images = np.stack([np.asarray(Image.open(f"{i}.png")) for i in range(10)])
        x = torch.from_numpy(images).float().sub(120).div(60).permute(0, 3, 1, 2)
        first = before.network.stem[0]
        with torch.no_grad():
            mean = first[0](x).mean((0, 2, 3))
        assert torch.allclose(after.network.stem[0][1].running_mean, mean, atol=1e-5)
        for key, value in after.network.state_dict().items():
            same = torch.equal(value, before.network.state_dict()[key])
            assert same != ("running_" in key or "num_batches" in key), key

    def test_batch_norm_statistics_may_be_mixed_of_both_domains(self, world):
        for folder, share in (("all", 1), ("quarter", 0.25)):
            settings = {**NORMING, "share": share}
            world(reestimate_batchnorm.reestimate, folder, settings, **MODEL, **TARGET)
        files = ("model.safetensors", "all/model.safetensors", "quarter/model.safetensors")
        source, target, mixed = (store.load(f).network.state_dict() for f in files)
        for key, value in mixed.items():
            if "running_" in key:
                expected = 0.75 * source[key] + 0.25 * target[key]
                assert torch.allclose(value, expected, atol=1e-6), key
                assert not torch.equal(value, source[key])

    def test_statistics_of_shallow_layers_are_those_of_all_and_the_deep_ones_stay(self, world):
        kinds = {"all": (1, "all"), "shallow": (1, "shallow"), "mixed": (0.25, "shallow")}
        for folder, (share, layers) in kinds.items():
            settings = {"share": share, "layers": layers}
            world(reestimate_batchnorm.reestimate, folder, settings, **MODEL, **TARGET)
        files = ("model.safetensors", *(f"{folder}/model.safetensors" for folder in kinds))
        source, target, shallow, mixed = (store.load(f).network.state_dict() for f in files)
        running = [key for key in source if "running_" in key]
        stem = [key for key in running if key.startswith("stem.")]
        # two convolutions and a block of two, each with a mean and a variance
        assert len(stem) == 8 and len(running) > 8
        for key, value in source.items():
            if key in stem:
                assert torch.equal(shallow[key], target[key]), key
                assert not torch.equal(shallow[key], value), key
                expected = 0.75 * value + 0.25 * target[key]
                assert torch.allclose(mixed[key], expected, atol=1e-6), key
                assert not torch.equal(mixed[key], value), key
            elif not (key.startswith("stem.") and "num_batches" in key):
                assert torch.equal(shallow[key], value) and torch.equal(mixed[key], value), key
        assert not any(torch.equal(target[key], source[key]) for key in running)

    def test_evaluation_is_at_the_labels_own_size(self, world):
        world(
            evaluate.evaluate, "evaluated", EVALUATION, **MODEL,
            validation_images="images.csv", validation_labels="labels.csv",
        )  # fmt: skip
        labels = np.stack([np.asarray(Image.open(f"{i}_label.png")) for i in range(10)])
        columns = table.read("evaluated/iou.csv", iou_csv.COLUMNS)
        assert columns["pixels"] == [(labels == 0).sum(), (labels == 1).sum(), 0]
        assert Image.open("evaluated/pictures.png").size == (3 * SIZE[1], 3 * SIZE[0])

    @pytest.mark.parametrize(
        ("layers", "told"), [("all", ":"), ("shallow", " in its shallow layers:")]
    )
    def test_a_network_without_batch_norm_has_no_such_control(
        self, world, monkeypatch, layers, told
    ):
        monkeypatch.setattr(reestimate_batchnorm, "nn", SimpleNamespace(BatchNorm2d=torch.nn.LSTM))
        settings = {**NORMING, "layers": layers}
        with pytest.raises(UserError, match=f"compact has no batch-norm{told}"):
            world(reestimate_batchnorm.reestimate, "bn", settings, **MODEL, **TARGET)

    def test_a_network_whose_batch_norm_is_deep_has_no_shallow_statistics(self, world, monkeypatch):
        monkeypatch.setattr(Compact, "shallow", lambda self: [self.classifier])
        settings = {**NORMING, "layers": "shallow"}
        with pytest.raises(UserError, match="compact has no batch-norm in its shallow layers"):
            world(reestimate_batchnorm.reestimate, "bn", settings, **MODEL, **TARGET)
        world(reestimate_batchnorm.reestimate, "bn", NORMING, **MODEL, **TARGET)


def labels_of(*runs: tuple[int, int]) -> np.ndarray:
    """Ids of an image at the working size, row by row: (id, pixels) after each other; the rest is
    id 9, which is ignored."""
    ids = np.full(SIZE[0] * SIZE[1], 9, np.uint8)
    ids[: sum(count for _, count in runs)] = [k for k, count in runs for _ in range(count)]
    return ids.reshape(SIZE)


def write_source(labels: list[np.ndarray]) -> dict[str, str]:
    """A source of its own in `source/`: images s0, s1, ... with these labels; the inputs."""
    Path("source").mkdir()
    draws = np.random.default_rng(1)
    images, rows = [], []
    for k, label in enumerate(labels):
        path, of = f"source/{k}.png", f"source/{k}_label.png"
        Image.fromarray(draws.integers(0, 256, (*SIZE, 3), np.uint8)).save(path)
        Image.fromarray(label).save(of)
        height, width = label.shape
        images.append(images_csv.ImageRow(f"s{k}", path, SIZE[1], SIZE[0], content_hash(path)))
        rows.append(labels_csv.LabelRow(f"s{k}", of, width, height, content_hash(of), 0, (1, 1, 1)))
    images_csv.write("source_images.csv", images)
    labels_csv.write("source_labels.csv", rows, CLASSES)
    return {"source_images": "source_images.csv", "source_labels": "source_labels.csv"}


class TestLossOnTheSource:
    def scored(self, world, source: dict[str, str], **changes) -> list[source_csv.SourceRow]:
        settings = {**SCORING, **changes}
        world(score_target.score, "scores", settings, **MODEL, **TARGET, **source)
        return source_csv.read("scores/source.csv")

    def test_it_is_the_mean_over_labelled_pixels_of_each_image(self, world):
        """Whatever the image, the network says road with 1/2, car and sky with 1/4 each."""
        model = store.load("model.safetensors")
        with torch.no_grad():
            model.network.classifier.weight.zero_()
            model.network.classifier.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
        store.save("model.safetensors", model.network, NETWORK, CLASSES, SIZE)
        source = write_source(
            [
                labels_of((0, 384)),
                labels_of((0, 30), (2, 10)),
                labels_of(),
                labels_of((1, 1)),
                labels_of((1, 100), (255, 200), (0, 50), (2, 25)),
            ]
        )
        rows = self.scored(world, source)
        assert [row.id for row in rows] == ["s0", "s1", "s2", "s3", "s4"]
        assert [row.pixels for row in rows] == [384, 40, 0, 1, 175]
        # in units of log 2: a pixel of road costs 1, one of another class 2
        expected = [1, (30 + 20) / 40, math.nan, 2, (50 + 2 * 125) / 175]
        found = [row.loss / math.log(2) for row in rows]
        assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)

    def test_it_equals_a_loop_over_pixels(self, world):
        draws = np.random.default_rng(2)
        # labels of another size than the images; ids 3 and 4 stand for no class
        labels = [draws.integers(0, 5, (20, 30), np.uint8) for _ in range(9)]
        labels[4] = np.full((20, 30), 255, np.uint8)
        labels[8][:, 3:] = 4
        ids = {"0": 2, "1": 0, "2": 1, "3": 255, "4": 255, "255": 255}
        rows = self.scored(world, write_source(labels), label_ids=ids)
        model = store.load("model.safetensors")
        model.network.eval()
        for k, row in enumerate(rows):
            image = torch.from_numpy(np.asarray(Image.open(f"source/{k}.png")).copy())[None]
            logits = full_logits(model, image, torch.device("cpu"))[0].double().numpy()
            small = Image.fromarray(labels[k]).resize(SIZE[::-1], Image.Resampling.NEAREST)
            losses = []
            for (y, x), label in np.ndenumerate(np.asarray(small)):
                true = ids[str(label)]
                if true != 255:
                    of = [math.exp(v) for v in logits[:, y, x]]
                    losses.append(-math.log(of[true] / sum(of)))
            assert (row.id, row.pixels) == (f"s{k}", len(losses))
            mean = sum(losses) / len(losses) if losses else math.nan
            assert row.loss == pytest.approx(mean, rel=1e-4, nan_ok=True)
        assert len(rows) == 9 and [row.id for row in rows if row.pixels == 0] == ["s4"]
        assert rows[8].pixels < 50 < rows[0].pixels

    @pytest.mark.parametrize(
        ("most", "numbers"),
        [(1, [0]), (3, [0, 3, 6]), (4, [0, 2, 5, 7]), (9, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
         (10, list(range(10))), (11, list(range(10)))],
    )  # fmt: skip
    def test_of_many_images_some_are_looked_at_evenly_spread(
        self, world, monkeypatch, most, numbers
    ):
        whole = {row.id: row for row in self.scored(world, SOURCE)}
        monkeypatch.setattr(score_target, "SOURCE_IMAGES", most)
        rows = self.scored(world, SOURCE)
        assert [row.id for row in rows] == [f"i{k}" for k in numbers]
        for row in rows:  # in another batch, the sums of floats may be in another order
            assert row.pixels == whole[row.id].pixels == SIZE[0] * SIZE[1]
            assert row.loss == pytest.approx(whole[row.id].loss, rel=1e-4)

    def test_fifty_images_are_looked_at_and_no_more(self, world):
        assert len(self.scored(world, write_source([labels_of((0, 9))] * 50))) == 50
        # each of them twice, under another name
        images, labels = (
            [dataclasses.replace(row, id=f"{row.id}{k}") for row in rows for k in "ab"]
            for rows in (
                images_csv.read("source_images.csv"),
                labels_csv.read("source_labels.csv", CLASSES),
            )
        )
        images_csv.write("double_images.csv", images)
        labels_csv.write("double_labels.csv", labels, CLASSES)
        double = {"source_images": "double_images.csv", "source_labels": "double_labels.csv"}
        assert [row.id for row in self.scored(world, double)] == [f"s{k}a" for k in range(50)]

    def test_it_is_of_the_image_as_it_is_whatever_views_label_the_target(self, world):
        one = self.scored(world, SOURCE)
        first = Path("scores/scores.csv").read_bytes()
        views = {"scales": [1.0, 1.5], "flip": True}
        assert self.scored(world, SOURCE, prediction=views) == one
        assert Path("scores/scores.csv").read_bytes() != first

    def test_only_images_with_a_label_are_looked_at(self, world, monkeypatch):
        labels_csv.write("some.csv", labels_csv.read("labels.csv", CLASSES)[1::2], CLASSES)
        monkeypatch.setattr(score_target, "SOURCE_IMAGES", 2)
        rows = self.scored(world, {**SOURCE, "source_labels": "some.csv"})
        assert [row.id for row in rows] == ["i1", "i5"]
