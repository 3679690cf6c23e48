"""RAX-Net is the authors' network: their weights, from a Keras file, give their outputs."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from medapp.networks.blocks import fuse_batchnorm
from medapp.networks.raxnet import RAXNet
from training.methods.segment_stroke_raxnet import add_input_channels
from training.release.convert_raxnet_keras import convert_layers, read_layers

FIXTURE = Path(__file__).parent.parent / "parity" / "rax_small.npz"
WIDTHS = (4, 8, 16, 32)


def keras_file(path: Path, arrays: np.lib.npyio.NpzFile, *, whole: bool = True, first: int = 0) -> Path:
    """The weights of the fixture laid out as Keras 2 does: layer/layer/variable:0, counted from `first`."""
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights") if whole else file
        for key in arrays:
            if key.startswith("W:"):
                layer, variable = key[2:].split("/")
                kind, _, number = layer.rpartition("_")
                if not number.isdigit():
                    kind, number = layer, "0"
                layer = f"{kind}_{int(number) + first}" if int(number) + first else kind
                top[f"{layer}/{layer}/{variable}:0"] = arrays[key]
        top.create_group("max_pooling2d")
    return path


def nchw(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


@torch.no_grad()
@pytest.mark.parametrize(("whole", "first"), [(True, 0), (False, 22)])
def test_reproduces_the_authors_output_from_their_file(tmp_path, whole, first):
    fixture = np.load(FIXTURE)
    state = convert_layers(read_layers(keras_file(tmp_path / "axial.h5", fixture, whole=whole, first=first)))
    net = RAXNet(1, WIDTHS).eval()
    net.load_state_dict(state, strict=True)
    adds = []
    for part in (*net.downs, *net.ups):
        part.register_forward_hook(lambda module, inputs, output: adds.append(output))
    for x, y in (("x", "y"), ("x01", "y01")):
        adds.clear()
        np.testing.assert_allclose(net(nchw(fixture[x])).sigmoid(), nchw(fixture[y]), rtol=0, atol=1e-5)
    for part, number in zip(adds, (0, 1, 2, 4, 6, 8, 10), strict=True):
        expected = nchw(fixture[f"add{number}"])
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_authors_weights_serve_a_network_that_sees_more(tmp_path):
    fixture = np.load(FIXTURE)
    state = convert_layers(read_layers(keras_file(tmp_path / "axial.h5", fixture)))
    net = RAXNet(1, WIDTHS, 5).eval()
    net.load_state_dict(add_input_channels(state, 5), strict=True)
    x = nchw(fixture["x"])
    x = torch.cat([x, torch.randn(len(x), 4, *x.shape[2:])], 1)
    np.testing.assert_allclose(net(x).sigmoid(), nchw(fixture["y"]), rtol=0, atol=1e-5)


def test_another_network_is_refused(tmp_path):
    arrays = dict(np.load(FIXTURE))
    del arrays["W:separable_conv2d_4/depthwise_kernel"], arrays["W:separable_conv2d_4/pointwise_kernel"]
    del arrays["W:separable_conv2d_4/bias"]
    with pytest.raises(ValueError, match="separable_conv2d"):
        convert_layers(read_layers(keras_file(tmp_path / "other.h5", arrays)))


def test_the_papers_size_builds():
    net = RAXNet()
    assert sum(p.numel() for p in net.parameters()) == 4_829_665
    assert net.eval()(torch.rand(1, 1, 48, 32)).shape == (1, 1, 48, 32)


@torch.no_grad()
def test_folds_into_itself():
    net, x = RAXNet(1, WIDTHS), torch.rand(2, 1, 32, 48)
    for _ in range(3):
        net(x)
    before = net.eval()(x)
    torch.testing.assert_close(fuse_batchnorm(net)(x), before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
