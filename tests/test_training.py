"""The training loop, its state, its randomness, its optimisers and schedules."""

import errno
import fcntl
import logging
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from scalewise import resuming
from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.models.compact import Compact
from scalewise.models.network import Network, normalise
from scalewise.models.precision import forward
from scalewise.runtime import prepared
from scalewise.stage_lock import StageInUse, StageLock
from scalewise.stage_state import StageState
from scalewise.training import loop
from scalewise.training import state as training_state
from scalewise.training.losses import cross_entropy
from scalewise.training.optimization import learning_rate, make_optimizer
from scalewise.training.optimizer_state import moments
from scalewise.training.randomness import batch_items, derived_seed, generator
from scalewise.training.shares import begin_pass, dealt

STEPS = 12
SEED = 7
ADAMW = {
    "name": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-2,
    "momentum": 0.9,
    "beta2": 0.999,
    "bias_rate": 1.0,
    "classifier_rate": 1.0,
}
SGD = {**ADAMW, "name": "sgd", "learning_rate": 0.05}
RATES = {**SGD, "bias_rate": 2.0, "classifier_rate": 10.0}
POLY = {
    "name": "poly",
    "power": 0.9,
    "horizon": None,
    "drop_every": 1000,
    "drop_factor": 0.1,
    "warmup": 0,
}
PREPROCESSING = {"order": "rgb", "mean": [120.0, 120.0, 120.0], "scale": [60.0, 60.0, 60.0]}


@pytest.fixture(autouse=True)
def one_thread_in_a_folder_of_its_own(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


def make_job(threads: int = 1, key: str = "0" * 16) -> Job:
    description = {
        "stage": "train_source",
        "key": key,
        "title": "a small training",
        "folder": f"results/train_source/{key}",
        "settings": {"seed": SEED},
        "contents": {},
        "locations": {},
        "inputs": {},
    }
    job = Job(description, threads, 1)
    job.save_minutes = 1e9
    return job


def make_batch(step: int) -> tuple[int, torch.Tensor, torch.Tensor]:
    draws = generator(SEED, "test batch", step)
    images = torch.from_numpy(draws.integers(0, 256, (2, 16, 24, 3), np.uint8))
    labels = torch.from_numpy(draws.integers(0, 3, (2, 16, 24), np.uint8))
    return step, images, labels


class Crash(Exception):
    """Stands for anything that ends a process without a word."""


def training(
    job: Job,
    *,
    optimizer: dict = ADAMW,
    stop_at: int | None = None,
    crash_at: int | None = None,
    nan_at: int | None = None,
    break_weight_at: int | None = None,
    steps: int = STEPS,
    carried: dict | None = None,
    make_batch=make_batch,
):
    """Train; return the weights, the rows, and the steps that were worked on in this call."""
    torch.manual_seed(derived_seed(SEED, "weights"))
    model = Compact(3, width=8, dropout=0.5).to(memory_format=torch.channels_last).train()
    made, result = [], {}
    training.result = result

    def loss_parts(batch):
        step, images, labels = batch
        made.append(step)
        begin_pass(dealt(len(images)))
        if step == crash_at:
            raise Crash
        loss = cross_entropy(forward(model, normalise(images, PREPROCESSING)), labels)
        if step == nan_at:
            loss = loss * torch.nan
        if step == break_weight_at:
            with torch.no_grad():
                next(model.parameters())[0, 0, 0, 0] = torch.inf
            loss = loss.detach().requires_grad_()
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        yield {"loss": loss, "twice": 2 * loss.detach()}

    def finish(columns, rows, optimizer):
        assert columns == ["learning_rate", "loss", "twice"]
        result["folder_at_finish"] = job.state_folder.exists()
        result["rows"] = rows.copy()
        result["moments"] = moments(optimizer, model)

    try:
        loop.train(
            job,
            model,
            make_batch,
            loss_parts,
            terms=["loss", "twice"],
            steps=steps,
            seed=SEED,
            optimizer_settings=optimizer,
            schedule=POLY,
            finish=finish,
            carried=carried,
            describe=lambda step: f"source: a, b of {step}",
        )
    finally:
        result["made"] = made
        training.made = made
    result["weights"] = {k: v.clone() for k, v in model.state_dict().items()}
    return result


def require_equal(one, other) -> None:
    assert np.array_equal(one["rows"], other["rows"])
    assert one["weights"].keys() == other["weights"].keys()
    for name, value in one["weights"].items():
        assert torch.equal(value, other["weights"][name]), name


class TestResuming:
    @pytest.mark.parametrize("optimizer", [ADAMW, SGD, RATES], ids=["adamw", "sgd", "rates"])
    @pytest.mark.parametrize("stop_at", [0, 4, STEPS - 1])
    def test_a_training_that_was_told_to_stop_ends_in_the_same_bits(self, optimizer, stop_at):
        whole = training(make_job(key="a" * 16), optimizer=optimizer)
        assert whole["made"] == list(range(STEPS))
        job = make_job()
        with pytest.raises(KeyboardInterrupt):
            training(job, optimizer=optimizer, stop_at=stop_at)
        assert training.made == list(range(stop_at + 1))
        assert (job.state_folder / "state.safetensors").exists()
        rest = training(make_job(), optimizer=optimizer)
        assert rest["made"] == list(range(stop_at + 1, STEPS))
        require_equal(whole, rest)

    @pytest.mark.parametrize("settings", [ADAMW, SGD, RATES], ids=["adamw", "sgd", "rates"])
    def test_so_does_one_that_goes_on_with_the_moments_of_another(self, settings):
        before = training(make_job(key="b" * 16), optimizer=settings)["moments"]
        kept = {name: value.clone() for name, value in before.items()}
        whole = training(make_job(key="a" * 16), optimizer=settings, carried=before)
        fresh = training(make_job(key="c" * 16), optimizer=settings)
        assert any(not torch.equal(whole["weights"][k], v) for k, v in fresh["weights"].items())
        with pytest.raises(KeyboardInterrupt):
            training(make_job(), optimizer=settings, carried=before, stop_at=4)
        rest = training(make_job(), optimizer=settings, carried=before)
        assert rest["made"] == list(range(5, STEPS))
        require_equal(whole, rest)
        assert all(torch.equal(whole["moments"][k], v) for k, v in rest["moments"].items())
        # what was given is not changed in place
        assert all(torch.equal(kept[k], v) for k, v in before.items())

    def test_so_does_one_that_was_stopped_again_and_again(self):
        whole = training(make_job(key="a" * 16))
        for stop_at in (0, 1, 5, 6, 10):
            with pytest.raises(KeyboardInterrupt):
                training(make_job(), stop_at=stop_at)
        require_equal(whole, training(make_job()))

    @pytest.mark.parametrize("crash_at", [0, 1, 7])
    def test_so_does_one_that_was_killed_between_two_saved_states(self, crash_at):
        whole = training(make_job(key="a" * 16))
        job = make_job()
        job.save_minutes = 0  # after every step
        with pytest.raises(Crash):
            training(job, crash_at=crash_at)
        rest = training(make_job())
        assert rest["made"] == list(range(crash_at, STEPS))
        require_equal(whole, rest)

    def test_saving_the_state_changes_nothing(self):
        job = make_job()
        job.save_minutes = 0
        require_equal(training(make_job(key="a" * 16)), training(job))

    def test_the_loss_goes_down_and_the_rows_tell_rate_and_terms(self):
        rows = training(make_job())["rows"]
        assert rows.shape == (STEPS, 3)
        assert rows[:, 0] == pytest.approx([3e-3 * (1 - k / STEPS) ** 0.9 for k in range(STEPS)])
        assert np.array_equal(rows[:, 2], 2 * rows[:, 1])
        assert rows[-1, 1] < rows[0, 1]

    def test_another_seed_drops_other_channels(self, monkeypatch):
        one = training(make_job(key="a" * 16), steps=2)
        monkeypatch.setattr(
            loop, "derived_seed", lambda seed, *purpose: derived_seed(seed + 1, *purpose)
        )
        other = training(make_job(key="b" * 16), steps=2)
        assert one["rows"][0, 1] != other["rows"][0, 1]

    def test_the_optimizer_s_state_comes_back_with_the_strides_of_the_weights(self, tmp_path):
        model = Compact(3, width=8).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(model, ADAMW)
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        weights = list(model.parameters())
        strides = [optimizer.state[p]["exp_avg"].stride() for p in weights]
        with StageState(tmp_path / "state", "key") as state:
            state.save(1, training_state.arrays(model, optimizer, np.zeros((1, 1))))
            again = make_optimizer(model, ADAMW)
            training_state.restore(state.load().arrays, model, again, np.zeros((2, 1)))
        assert [again.state[p]["exp_avg"].stride() for p in weights] == strides
        for one, other in ((optimizer.state[p], again.state[p]) for p in weights):
            assert all(torch.equal(one[name], other[name]) for name in one)
            assert one["step"].dtype == other["step"].dtype


class TestState:
    def interrupted(self, **job) -> Job:
        job = make_job(**job)
        with pytest.raises(KeyboardInterrupt):
            training(job, stop_at=3)
        return job

    def test_it_stays_until_the_job_itself_removes_it(self):
        """A job that is killed after its results and before its settings.json loses nothing."""
        self.interrupted()
        job = make_job()
        result = training(job)
        assert result["folder_at_finish"]
        assert (job.state_folder / "state.safetensors").exists()
        with job.state:
            job.state.remove()
        assert not job.state_folder.exists()

    def test_it_stays_when_writing_the_results_fails(self):
        self.interrupted()
        job = make_job()

        def fail(columns, rows, optimizer):
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            loop.train(
                job,
                Compact(3, width=8).to(memory_format=torch.channels_last),
                make_batch,
                lambda batch: pytest.fail("no step is left"),
                terms=["loss", "twice"],
                steps=4,
                seed=SEED,
                optimizer_settings=ADAMW,
                schedule=POLY,
                finish=fail,
            )
        assert (job.state_folder / "state.safetensors").exists()

    def test_a_job_goes_on_with_as_many_threads_as_it_was_begun_with(self, caplog):
        whole = training(make_job(key="a" * 16))
        self.interrupted(threads=1)
        job = make_job(threads=2)
        with caplog.at_level(logging.INFO), job.state, prepared(job):
            assert (job.threads, torch.get_num_threads()) == (1, 1)
            require_equal(whole, training(job))
        assert "begun with 1 threads" in caplog.text

    def test_a_state_of_another_kind_of_device_is_used_with_a_warning(self, caplog):
        job = make_job()
        job.device = "cuda:0 (NVIDIA)"
        with pytest.raises(KeyboardInterrupt):
            training(job, stop_at=3)
        again = make_job()
        with caplog.at_level(logging.WARNING), again.state, prepared(again):
            assert training(again)["made"][0] == 4
        assert "begun on cuda:0 (NVIDIA) and goes on on cpu" in again.notes["warnings"][0]

    def test_a_state_of_another_key_is_refused(self, caplog):
        job = self.interrupted()
        other = make_job(key="b" * 16)
        job.state_folder.rename(other.state_folder)
        with caplog.at_level(logging.WARNING):
            result = training(other)
        assert result["made"][0] == 0
        assert f"it is of {'0' * 16}, and this is {'b' * 16}" in caplog.text

    @staticmethod
    def damage(file, how: str) -> None:
        content = file.read_bytes()
        if how == "of something else":
            save_file({"x": torch.zeros(1)}, file, {"state": '{"other": 1}'})
        elif how == "a flipped bit":
            middle = len(content) // 2
            file.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        else:
            file.write_bytes(
                {"empty": b"", "cut short": content[:-100], "noise": b"\xff" * 5000}[how]
            )

    @pytest.mark.parametrize(
        "how", ["empty", "cut short", "noise", "of something else", "a flipped bit"]
    )
    def test_in_place_of_a_damaged_state_the_one_before_it_is_used(self, how, caplog):
        whole = training(make_job(key="a" * 16))
        job = make_job()
        job.save_steps = 2
        with pytest.raises(KeyboardInterrupt):
            training(job, stop_at=4)
        self.damage(job.state_folder / "state.safetensors", how)
        with caplog.at_level(logging.WARNING):
            result = training(make_job())
        assert "state.safetensors: not used" in caplog.text
        assert result["made"] == list(range(4, STEPS))  # the states were those of steps 2, 4, 5
        require_equal(whole, result)
        # it is gone: the next save would have put it in the place of the good one before it
        assert [p.name for p in job.state_folder.glob("*.safetensors")] == ["previous.safetensors"]
        self.damage(job.state_folder / "previous.safetensors", "noise")
        result = training(make_job())
        assert result["made"] == list(range(STEPS))
        require_equal(whole, result)

    def test_it_is_saved_every_so_many_steps_where_that_is_said(self, monkeypatch):
        saved = []
        monkeypatch.setattr(Job, "save", lambda self, step, arrays, **facts: saved.append(step))
        job = make_job()
        job.save_steps = 5
        training(job)
        assert saved == [5, 10]

    def test_a_disk_that_is_full_ends_no_training_and_keeps_the_last_state(self, monkeypatch):
        whole = training(make_job(key="a" * 16))
        job = make_job()
        job.save_steps = 3
        real = StageState.save

        def full(self, step, arrays, **facts):
            if step > 3:
                raise OSError(errno.ENOSPC, "No space left on device", str(self.file))
            real(self, step, arrays, **facts)

        monkeypatch.setattr(StageState, "save", full)
        result = training(job)
        require_equal(whole, result)
        assert job.state.load().step == 3
        told = job.notes["warnings"]
        assert len(told) == 2 and "the state of step 6 could not be saved (No space" in told[0]

    def test_a_batch_that_cannot_be_read_keeps_the_steps_before_it(self):
        whole = training(make_job(key="a" * 16))
        job = make_job()

        def unreadable(step):
            if step == 7:
                raise UserError("x.png: cannot be read")
            return make_batch(step)

        with pytest.raises(UserError, match="x.png"):
            training(job, make_batch=unreadable)
        assert job.state.load().step == 7
        result = training(make_job())
        assert result["made"] == list(range(7, STEPS))
        require_equal(whole, result)

    def test_a_second_trainer_of_the_same_stage_is_refused_and_told_by_whom(self):
        job = make_job()
        with StageLock(job.state_folder):
            with pytest.raises(UserError, match=f"process {os.getpid()} already works") as told:
                training(job)
            assert str(job.state_folder) in str(told.value)
            assert job.state_folder.exists()
        training(job)

    def test_a_lock_that_was_removed_locks_nothing(self, tmp_path):
        """Between opening a lock and locking it, its holder may end and remove it."""
        folder = tmp_path / "state"
        first = StageLock(folder)
        with first:
            first.remove()
            with StageLock(folder):
                first.__exit__()
                assert (folder / "lock").exists()
                with pytest.raises(StageInUse), StageLock(folder):
                    pass
            first.__enter__()
        assert not folder.exists()

    def test_a_lock_that_goes_while_it_is_taken_is_taken_anew(self, tmp_path, monkeypatch):
        folder, flock = tmp_path / "state", fcntl.flock
        opened = []

        def slow(file, how):
            opened.append(file)
            if len(opened) == 1:
                shutil.rmtree(folder)  # its holder ended just now
            flock(file, how)

        monkeypatch.setattr(fcntl, "flock", slow)
        with StageLock(folder):
            assert len(opened) == 2 and opened[0].closed
            with pytest.raises(StageInUse), StageLock(folder):
                pass

    def test_a_failed_training_leaves_no_folder_without_a_state(self):
        job = make_job()
        with pytest.raises(Crash):
            training(job, crash_at=2)
        assert not job.state_folder.exists()

    def test_what_a_killed_trainer_was_writing_is_cleared_away(self, tmp_path):
        left = tmp_path / "state" / ".state.safetensors.1.tmp"
        left.parent.mkdir()
        left.write_bytes(b"half")
        with StageLock(left.parent):
            assert not left.exists()


class TestStopping:
    def test_a_loss_that_is_not_finite_ends_the_training_and_names_step_and_terms(self):
        job = make_job()
        with pytest.raises(UserError) as told:
            training(job, nan_at=5)
        assert "the loss is not finite (loss nan, twice nan) at step 5" in str(told.value)
        assert "(source: a, b of 5)" in str(told.value)  # what its batch is made of
        assert "No state was saved yet" in str(told.value)

    def test_the_last_good_state_stays_where_the_loss_is_no_longer_finite(self):
        job = make_job()
        job.save_steps = 2
        with pytest.raises(UserError, match="The state of step 4 is kept in results/state/"):
            training(job, nan_at=5)
        saved = job.state.load()
        assert saved.step == 4 and all(np.isfinite(v).all() for v in saved.arrays.values())

    def test_a_weight_that_is_not_finite_is_never_saved_and_makes_no_result(self):
        """The loss of a step says nothing of the weights after it."""
        for save_steps in (0, 3):
            job = make_job(key=f"{save_steps:016}")
            job.save_steps = save_steps
            with pytest.raises(UserError, match="a weight is no longer finite"):
                training(job, break_weight_at=STEPS - 1 if not save_steps else 5)
            assert "rows" not in training.result
            assert not save_steps or job.state.load().step == 3

    def test_a_loss_that_is_not_finite_is_never_saved(self):
        job = make_job()
        with pytest.raises(UserError, match="at step 5"):
            training(job, nan_at=5, stop_at=5)
        assert not job.state_folder.exists()

    def test_the_handlers_of_signals_are_as_before(self):
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        training(make_job(), steps=1)
        with pytest.raises(KeyboardInterrupt):
            training(make_job(), stop_at=0)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    def test_two_signals_at_once_are_one_and_a_later_one_ends_the_wait(self, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(resuming.time, "monotonic", lambda: now[0])
        with resuming.deferred_interrupt() as caught:
            assert not caught
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert caught == [signal.SIGINT, signal.SIGTERM]
            now[0] += 1.5
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    def test_batches_come_in_order_and_only_a_few_ahead(self):
        made = []
        batches = loop.prefetch(lambda step: made.append(step) or -step, 3, 30)
        assert next(batches) == (3, -3)
        assert [next(batches) for _ in range(5)] == [(k, -k) for k in range(4, 9)]
        batches.close()
        assert made == sorted(made) and made[-1] <= 8 + loop.AHEAD
        assert list(loop.prefetch(lambda step: step, 5, 5)) == []
        assert list(loop.prefetch(lambda step: step, 0, 2)) == [(0, 0), (1, 1)]

    def test_an_error_in_a_batch_reaches_the_trainer(self):
        with pytest.raises(ZeroDivisionError):
            list(loop.prefetch(lambda step: 1 // (2 - step), 0, 9))


class TestRandomness:
    @settings(max_examples=50, deadline=None)
    @given(
        seed=st.integers(0, 9), count=st.integers(1, 13), batch=st.integers(1, 7),
        epochs=st.integers(1, 3),
    )  # fmt: skip
    def test_every_item_comes_once_per_epoch(self, seed, count, batch, epochs):
        steps = -(-count * epochs // batch)
        drawn = [i for k in range(steps) for i in batch_items(seed, "test", k, batch, count)]
        assert len(drawn) == steps * batch
        for epoch in range(epochs):
            assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))

    def test_a_batch_does_not_depend_on_those_made_before(self):
        forward = [batch_items(3, "test", k, 4, 10) for k in range(9)]
        backward = [batch_items(3, "test", k, 4, 10) for k in reversed(range(9))]
        assert forward == backward[::-1]

    def test_epochs_seeds_and_purposes_differ(self):
        def order(seed, purpose, epoch):
            return tuple(batch_items(seed, purpose, epoch, 50, 50))

        orders = {order(s, p, e) for s in (0, 1) for p in ("source", "patches") for e in (0, 1)}
        assert len(orders) == 8

    def test_seeds_fit_torch_and_their_parts_do_not_run_together(self):
        assert 0 <= derived_seed(0, "x") < 2**63
        assert derived_seed(1, "a", 12) != derived_seed(1, "a", 1, 2)
        assert derived_seed(1, "a", 1) != derived_seed(11, "a")
        assert derived_seed(5, "dropout", 3) == derived_seed(5, "dropout", 3)


class Line(Network):
    """y = body x + head: one weight and one bias each, all 1; the head is the classifier."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        for parameter in self.parameters():
            torch.nn.init.ones_(parameter)

    def forward(self, x):
        return self.head(self.body(x))

    def classifier_parameters(self):
        return list(self.head.parameters())


def one_step(model: Network, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    optimizer.zero_grad()
    model(torch.tensor([[3.0]])).sum().backward()
    optimizer.step()
    return {k: p.item() for k, p in model.named_parameters()}


class TestSchedules:
    SETTINGS = {"learning_rate": 0.1}

    def rates(self, steps: int, **changes) -> list[float]:
        schedule = {**POLY, **changes}
        return [learning_rate(self.SETTINGS, schedule, k, steps) for k in range(steps)]

    def test_poly_falls_by_the_power_of_what_is_left(self):
        assert self.rates(4, power=2) == pytest.approx([0.1, 0.1 * 9 / 16, 0.1 / 4, 0.1 / 16])
        assert self.rates(4)[3] == pytest.approx(0.1 * 0.25**0.9)

    def test_poly_falls_over_its_horizon_however_many_steps_are_made(self):
        assert self.rates(2, power=1, horizon=10) == pytest.approx([0.1, 0.09])
        # the published source training: 120 000 steps of a fall over 250 000
        last = learning_rate(self.SETTINGS, {**POLY, "horizon": 250_000}, 119_999, 120_000)
        assert last == pytest.approx(0.1 * (130_001 / 250_000) ** 0.9)

    def test_beyond_its_horizon_poly_stays_at_0(self):
        assert self.rates(4, power=1, horizon=2) == pytest.approx([0.1, 0.05, 0, 0])

    def test_a_constant_rate_is_constant(self):
        assert self.rates(4, name="constant") == [0.1] * 4

    def test_step_multiplies_by_its_factor_every_so_many_steps(self):
        rates = self.rates(7, name="step", drop_every=3, drop_factor=0.5)
        assert rates == pytest.approx([0.1] * 3 + [0.05] * 3 + [0.025])

    @pytest.mark.parametrize(
        "changes, expected",
        [
            ({"name": "constant"}, [0.025, 0.05, 0.075, 0.1, 0.1]),
            ({"power": 1}, [0.025, 0.04, 0.045, 0.04, 0.02]),
            (
                {"name": "step", "drop_every": 2, "drop_factor": 0.5},
                [0.025, 0.05, 0.0375, 0.05, 0.025],
            ),
        ],
        ids=["constant", "poly", "step"],
    )
    def test_warm_up_leads_linearly_to_the_rate_of_any_schedule(self, changes, expected):
        assert self.rates(5, warmup=4, **changes) == pytest.approx(expected)


class TestOptimizers:
    @pytest.mark.parametrize(
        "name, kind",
        [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
    )
    def test_optimisers_have_the_settings_asked_for(self, name, kind):
        settings = {
            **ADAMW,
            "name": name,
            "learning_rate": 0.3,
            "weight_decay": 0.02,
            "momentum": 0.8,
            "beta2": 0.7,
        }
        optimizer = make_optimizer(Line(), settings)
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert (group["lr"], group["weight_decay"], group["factor"]) == (0.3, 0.02, 1)
        if name == "sgd":
            assert group["momentum"] == 0.8
        else:
            assert group["betas"] == (0.8, 0.7)
        assert len(group["params"]) == 4

    def test_frozen_parameters_are_left_out(self):
        model = Line()
        model.body.bias.requires_grad = False
        (group,) = make_optimizer(model, ADAMW).param_groups
        assert [id(p) for p in group["params"]] == [
            id(p) for p in (model.body.weight, model.head.weight, model.head.bias)
        ]

    def test_two_steps_of_sgd_by_hand(self):
        model = Line()
        model.requires_grad_(False)
        model.body.bias.requires_grad = True
        settings = {**SGD, "learning_rate": 0.1, "weight_decay": 0.5, "momentum": 0.9}
        optimizer = make_optimizer(model, settings)
        # gradient 1 + 0.5 * 1 = 1.5: 1 - 0.15 = 0.85
        assert one_step(model, optimizer)["body.bias"] == pytest.approx(0.85)
        # 1 + 0.5 * 0.85 = 1.425, and 0.9 * 1.5: 0.85 - 0.2775
        assert one_step(model, optimizer)["body.bias"] == pytest.approx(0.5725)

    def test_the_factors_of_biases_and_of_the_classifier_multiply(self):
        model = Line()
        settings = {**RATES, "learning_rate": 0.01, "weight_decay": 0.0}
        optimizer = make_optimizer(model, settings)
        assert [(g["factor"], g["lr"]) for g in optimizer.param_groups] == [
            (1, pytest.approx(0.01)),
            (2, pytest.approx(0.02)),
            (10, pytest.approx(0.1)),
            (20, pytest.approx(0.2)),
        ]
        # x = 3, body 1 * 3 + 1 = 4: gradients 3 and 1 of the body, 4 and 1 of the head
        assert one_step(model, optimizer) == pytest.approx(
            {
                "body.weight": 1 - 0.01 * 3,
                "body.bias": 1 - 0.02,
                "head.weight": 1 - 0.1 * 4,
                "head.bias": 1 - 0.2,
            }
        )

    def test_weight_decay_pulls_at_everything_that_is_trained_at_its_own_rate(self):
        model = Line()
        settings = {**RATES, "learning_rate": 0.01, "weight_decay": 0.5}
        after = one_step(model, make_optimizer(model, settings))
        assert after["body.weight"] == pytest.approx(1 - 0.01 * 3.5)
        assert after["head.bias"] == pytest.approx(1 - 0.2 * 1.5)

    @pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
    def test_a_factor_for_all_is_the_rate_times_that_factor(self, name):
        settings = {**ADAMW, "name": name, "learning_rate": 0.01}
        one, other = Line(), Line()
        optimizer = make_optimizer(other, {**settings, "bias_rate": 4.0, "classifier_rate": 1.0})
        weights = one_step(one, make_optimizer(one, settings))
        factored = one_step(other, optimizer)
        biases = one_step(
            faster := Line(), make_optimizer(faster, {**settings, "learning_rate": 0.04})
        )
        for key, value in factored.items():
            assert value == (biases if key.endswith("bias") else weights)[key]

    def test_the_loop_gives_every_group_its_share_of_the_rate(self, monkeypatch):
        seen = []

        def watched(model, settings):
            optimizer = make_optimizer(model, settings)
            optimizer.register_step_pre_hook(
                lambda o, *_: seen.append({g["factor"]: g["lr"] for g in o.param_groups})
            )
            return optimizer

        monkeypatch.setattr(loop, "make_optimizer", watched)
        with pytest.raises(KeyboardInterrupt):
            training(make_job(), optimizer=RATES, stop_at=1)
        rows = training(make_job(), optimizer=RATES)["rows"]
        assert len(seen) == STEPS
        for row, rates in zip(rows, seen, strict=True):
            assert rates == pytest.approx({f: row[0] * f for f in (1, 2, 10, 20)})
