"""In which precision a network computes, and what that changes and what not."""

import shutil

import pytest
import torch

from scalewise.errors import UserError
from scalewise.models import precision
from scalewise.models.compact import Compact
from scalewise.models.precision import FLOAT32, forward, gradient_scaler, to_device
from scalewise.training.optimization import make_optimizer
from scalewise.training.state import arrays, restore
from test_training import (  # noqa: F401
    ADAMW,
    STEPS,
    make_job,
    one_thread_in_a_folder_of_its_own,
    require_equal,
    training,
)

CPU = torch.device("cpu")


def compact(**changes) -> Compact:
    """In evaluation mode, on the CPU, with other settings of the precision."""
    torch.manual_seed(0)
    network = Compact(5, width=8).eval()
    to_device(network, CPU, {**FLOAT32, **changes})
    return network


def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_float32_is_a_plain_call_to_the_bit():
    torch.manual_seed(0)
    plain = Compact(5, width=8).eval().to(memory_format=torch.channels_last)
    expected = plain(images().contiguous(memory_format=torch.channels_last))
    assert torch.equal(forward(compact(), images()), expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_lower_precision_gives_float32_logits_that_are_close_and_others(name):
    whole, lower = forward(compact(), images()), forward(compact(autocast=name), images())
    assert lower.dtype is torch.float32
    assert not torch.equal(lower, whole)
    assert torch.allclose(lower, whole, atol=0.05)
    rounded = lower.to(precision.DTYPES[name]).float()
    assert torch.equal(lower, rounded)  # it was computed in that type


@torch.no_grad()
@pytest.mark.parametrize("last", [False, True])
def test_the_memory_layout_is_the_one_asked_for(last):
    network = compact(channels_last=last)
    seen = []
    network.stem.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    forward(network, images().contiguous())
    found = seen[0].is_contiguous(memory_format=torch.channels_last), seen[0].is_contiguous()
    assert found == (last, not last)
    weight = network.stem[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == last


def test_weights_and_their_gradients_stay_float32():
    network = compact(autocast="bfloat16").train()
    forward(network, images()).square().mean().backward()
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("there", [False, True])
def test_a_gpu_without_bfloat16_takes_float16_and_says_so(monkeypatch, there):
    monkeypatch.setattr(Compact, "to", lambda self, *args, **kwargs: self)
    monkeypatch.setattr(precision, "_has_bfloat16", lambda: there)
    told, network = [], Compact(3, width=8)
    to_device(network, torch.device("cuda"), {**FLOAT32, "autocast": "bfloat16"}, told.append)
    assert network.autocast is (torch.bfloat16 if there else torch.float16)
    assert told == (
        [] if there
        else ["precision.autocast: this device has no bfloat16, so it computes in float16"]
    )  # fmt: skip


class TestTraining:
    @pytest.fixture(params=["bfloat16", "float16"])
    def name(self, request, monkeypatch):
        monkeypatch.setattr(Compact, "autocast", precision.DTYPES[request.param])
        return request.param

    def test_ends_finite_in_other_bits_and_resumes_in_the_same(self, name, monkeypatch):
        whole = training(make_job(key="a" * 16))
        assert torch.tensor(whole["rows"]).isfinite().all()
        with monkeypatch.context() as patched:
            patched.setattr(Compact, "autocast", torch.float32)
            other = training(make_job(key="b" * 16))
        assert any(not torch.equal(v, other["weights"][k]) for k, v in whole["weights"].items())
        for stop_at in (0, 7):
            with pytest.raises(KeyboardInterrupt):
                training(make_job(), stop_at=stop_at)
        require_equal(whole, training(make_job()))

    def test_a_scale_that_is_too_large_is_lowered_and_goes_on_after_a_stop(self, monkeypatch):
        """So large that the first gradients are infinite: those steps change nothing."""
        monkeypatch.setattr(Compact, "autocast", torch.float16)
        scales = []

        def scaler(network):
            made = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=2)
            update = made.update
            made.update = lambda: (update(), scales.append(made.get_scale()))
            return made

        monkeypatch.setattr("scalewise.training.loop.gradient_scaler", scaler)
        whole, of_whole = training(make_job(key="a" * 16)), list(scales)
        assert of_whole[0] == 2.0**23 and max(of_whole) == 2.0**23
        assert any(b > a for a, b in zip(of_whole, of_whole[1:], strict=False)), of_whole
        scales.clear()
        with pytest.raises(KeyboardInterrupt):
            training(make_job(), stop_at=5)
        require_equal(whole, training(make_job()))
        assert scales == of_whole and len(scales) == STEPS

    def test_the_scale_is_a_part_of_the_state(self, monkeypatch):
        monkeypatch.setattr(Compact, "autocast", torch.float16)
        network = Compact(3, width=8)
        scaler = gradient_scaler(network)
        scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**11, "_growth_tracker": 17})
        optimizer = make_optimizer(network, ADAMW)
        saved = arrays(network, optimizer, torch.zeros(1, 2).numpy(), scaler=scaler)
        again = gradient_scaler(network)
        restore(saved, network, optimizer, torch.zeros(1, 2).numpy(), scaler=again)
        assert again.state_dict() == scaler.state_dict() and again.get_scale() == 2.0**11

    def test_no_other_precision_has_a_scale(self):
        for name in ("float32", "bfloat16"):
            network = compact(autocast=name)
            scaler = gradient_scaler(network)
            loss = torch.tensor(0.3, requires_grad=True)
            assert scaler.scale(loss) is loss
            optimizer = make_optimizer(network, ADAMW)
            assert "scale" not in arrays(
                network, optimizer, torch.zeros(1, 2).numpy(), None, scaler
            )


class TestCompiling:
    ASKED = {**FLOAT32, "compile": True}

    @pytest.mark.parametrize(
        ("named", "told"), [(None, r"no g\+\+ or clang\+\+ or c\+\+"), ("icpx", "no icpx")]
    )
    def test_without_a_compiler_it_is_refused_with_the_remedy(self, monkeypatch, named, told):
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.delenv("CXX", raising=False)
        if named:
            monkeypatch.setenv("CXX", named)
        with pytest.raises(UserError, match=rf"^precision\.compile: .*{told}: install one"):
            to_device(Compact(3, width=8), CPU, self.ASKED)

    @pytest.mark.slow
    @pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
    @torch.no_grad()
    def test_it_gives_the_same_logits_but_for_rounding(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
        plain, compiled = compact(), compact(compile=True)
        assert plain.state_dict().keys() == compiled.state_dict().keys()
        expected = forward(plain, images())
        assert torch.allclose(forward(compiled, images()), expected, atol=1e-4)
        assert any(tmp_path.rglob("*.cpp"))
