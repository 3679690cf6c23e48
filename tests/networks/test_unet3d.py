"""The 3-D U-Net answers at full resolution, its labels are its logits' best, and it learns to tell left from right."""

import pytest
import torch

from medapp.networks.unet3d import UNet3D, merge_blocks, split_blocks

SMALL = dict(classes=5, width=8, growth=(1, 2))


def test_blocks_come_back():
    x = torch.randn(2, 1, 4, 6, 8)
    assert torch.equal(merge_blocks(split_blocks(x).permute(0, 2, 3, 4, 1).unflatten(4, (2, 2, 2))), x[:, 0])


@torch.no_grad()
def test_labels_are_the_best_logits():
    net, x = UNet3D(**SMALL).eval(), torch.randn(2, 1, 40, 8, 12)
    logits = net(x)
    assert logits.shape == (2, 5, 40, 8, 12)
    labels = net.predict_labels(x)
    assert labels.dtype == torch.uint8  # and best but for rounding, which depends on the processor
    torch.testing.assert_close(logits.gather(1, labels.long()[:, None])[:, 0], logits.amax(1))


@torch.no_grad()
def test_logits_at_places_are_those_of_the_whole():
    net, x = UNet3D(**SMALL).eval(), torch.randn(1, 1, 8, 12, 16)
    features = net.extract_features(x)
    assert features.shape == (1, 4, 6, 8, 8)
    block = net.predict_logits(features[0, 1, 2, 3])  # (8, classes)
    torch.testing.assert_close(block.T.reshape(5, 2, 2, 2), net(x)[0, :, 2:4, 4:6, 6:8], rtol=1e-4, atol=1e-5)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        UNet3D(36, 4)(torch.zeros(1, 1, 16, 24, 16))


@torch.no_grad()
def test_the_served_size_builds():
    net = UNet3D()
    assert net.stride == 16 and 4e6 < sum(p.numel() for p in net.parameters()) < 6e6


def test_learns_which_side_is_which():
    torch.manual_seed(0)
    net = UNet3D(classes=3, width=8, growth=(1, 2))
    x = torch.zeros(1, 1, 16, 8, 8)
    x[:, :, 2:14, 2:6, 2:6] = 1
    x[:, :, 7:9] = 0.3  # the midline
    truth = (x[:, 0] > 0.9).long()
    truth[:, 8:] *= 2
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(160):
        loss = torch.nn.functional.cross_entropy(net(x), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (net.predict_labels(x).long() == truth).float().mean() > 0.97
