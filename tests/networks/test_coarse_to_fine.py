"""Two networks: each answers at every voxel, and the fine one is told what is roughly known."""

import torch

from medapp.networks.coarse_to_fine import MAX_DISTANCE_MM, CoarseToFine, make_fine_input


def test_each_part_answers_at_every_voxel():
    torch.manual_seed(0)
    net = CoarseToFine(4, 4).eval()
    with torch.inference_mode():
        assert net.coarse(torch.randn(1, 1, 32, 16, 48)).shape == (1, 1, 32, 16, 48)
        image, inwards = torch.randn(1, 1, 16, 24, 8), 30 * torch.randn(1, 1, 16, 24, 8)
        answer = net(image, inwards)
        assert answer.shape == image.shape
        assert torch.allclose(answer, net.fine(make_fine_input(image, inwards)))
        assert not torch.allclose(answer, net(image, -inwards)), "it uses the distance"


def test_what_is_told_reaches_from_minus_one_to_one():
    inwards = torch.tensor([-99.0, -MAX_DISTANCE_MM / 2, 0.0, 99.0]).view(1, 1, 1, 1, 4)
    network_input = make_fine_input(torch.full_like(inwards, 7.0), inwards)
    assert network_input[0, 0].flatten().tolist() == [7] * 4
    assert network_input[0, 1].flatten().tolist() == [-1, -0.5, 0, 1]


def test_the_weights_that_are_served_are_below_five_megabytes_in_16_bits():
    assert 2 * sum(tensor.numel() for tensor in CoarseToFine().state_dict().values()) < 5e6
