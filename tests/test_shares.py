"""A step's images dealt out, and dropout that follows them. What two processes make of a step:
tests/test_processes.py."""

import pytest
import torch
from torch import nn

from scalewise.training import shares
from scalewise.training.shares import Share, begin_pass, begin_step, dealt, share_layers


@pytest.fixture
def dropout():
    network = nn.Sequential(nn.Dropout2d(0.25)).train()
    share_layers(network)
    return network


def dropped(network, seed: int, *passed: Share, channels: int = 400) -> torch.Tensor:
    """float32 (images, channels): what is left of ones."""
    begin_step(seed)
    begin_pass(*passed)
    images = sum(len(share.places) for share in passed)
    return network(torch.ones(images, channels, 2, 3))[:, :, 1, 2]


class TestDropout:
    def test_a_share_of_the_channels_goes_and_the_others_make_up_for_it(self, dropout):
        left = dropped(dropout, 1, dealt(20))
        assert left.unique().tolist() == pytest.approx([0, 4 / 3])
        assert (left == 0).float().mean() == pytest.approx(0.25, abs=0.02)

    def test_every_image_step_and_layer_loses_channels_of_its_own(self, dropout):
        rows = torch.cat([dropped(dropout, seed, dealt(4)) for seed in (1, 2)])
        assert len({tuple(row.tolist()) for row in rows}) == 8
        begin_step(1)
        begin_pass(dealt(1))
        first, second = (dropout(torch.ones(1, 400, 1, 1)) for _ in range(2))
        assert not torch.equal(first, second)

    def test_it_is_the_same_in_a_pass_of_its_own_and_with_others(self, dropout):
        source, patches = dealt(3), dealt(2, after=3)
        together = dropped(dropout, 7, source, patches)
        apart = [dropped(dropout, 7, source), dropped(dropout, 7, patches)]
        assert torch.equal(together, torch.cat(apart))
        one = dropped(dropout, 7, Share([1], 3))
        assert torch.equal(one, together[4:])

    def test_evaluation_leaves_all(self, dropout):
        assert dropped(dropout.eval(), 1, dealt(2)).eq(1).all()

    def test_images_that_were_not_told_of_are_refused(self, dropout):
        begin_step(1)
        with pytest.raises(ValueError, match="begin_pass told of 0 images, and 2 pass"):
            dropout(torch.ones(2, 4, 1, 1))


class TestDealing:
    def processes(self, monkeypatch, rank: int, count: int) -> None:
        monkeypatch.setattr(shares.processes, "rank", lambda: rank)
        monkeypatch.setattr(shares.processes, "count", lambda: count)

    def test_one_process_has_all(self):
        assert dealt(3) == Share([0, 1, 2], 0)

    def test_in_turn_over_all_images_of_a_step(self, monkeypatch):
        found = []
        for rank in range(2):
            self.processes(monkeypatch, rank, 2)
            found.append((dealt(3).places, dealt(2, after=3).places))
        assert found == [([0, 2], [1]), ([1], [0])]
        # one image and one patch: one each
        self.processes(monkeypatch, 1, 2)
        assert (dealt(1).places, dealt(1, after=1).places) == ([], [0])
