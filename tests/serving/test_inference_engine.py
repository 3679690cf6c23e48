"""Engine with a network that cannot be traced and takes regions besides the image."""

import pytest
import torch

from medapp.networks.rat import RAT
from medapp.serving import inference_engine
from medapp.serving.inference_engine import Engine


def rat(**options) -> RAT:
    torch.manual_seed(0)
    net = RAT(width=8, middle_blk_num=3, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1), **options)
    for name, parameter in net.named_parameters():
        if name.split(".")[-1] in ("beta", "gamma", "lambda_ra"):
            torch.nn.init.normal_(parameter, 0, 0.1)
    return net


@pytest.mark.parametrize("half", [None, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 2])
def test_regions_travel_with_the_image(monkeypatch, half, scale):
    monkeypatch.setattr(inference_engine, "choose_half_precision", lambda device: half)
    net = rat(scale=scale)
    ready = Engine(net, "cpu", "auto")
    ready.tolerance = 0.1
    for size in ((80, 96), (40, 50)):
        x = torch.rand(1, 1, *size)
        labels = torch.randint(1, 5, (1, size[0] * scale // 8, size[1] * scale // 10)).float()
        labels = torch.nn.functional.interpolate(labels[None], [n * scale for n in size])[0].int()
        with torch.inference_mode():
            expected = net.float()(x, labels)
        out = ready(x, labels)
        assert out.dtype == torch.float32 and out.shape == expected.shape
        assert float((out - expected).norm() / expected.norm()) < (0.05 if half else 1e-5)
        assert (ready.name, ready.precision) == ("torch", "bf16" if half else "fp32")


def test_a_half_that_disagrees_is_not_used_and_is_tried_once(monkeypatch, caplog):
    monkeypatch.setattr(inference_engine, "choose_half_precision", lambda device: torch.bfloat16)
    ready = Engine(rat(), "cpu", "openvino")
    ready.tolerance = 1e-9
    for size in (64, 96, 100, 128, 200, 64):
        ready(torch.rand(1, 1, size, size), torch.ones(1, size, size, dtype=torch.int32))
    assert (ready.name, ready.precision) == ("torch", "fp32")
    assert sum("bf16" in message for message in caplog.messages) == 1
