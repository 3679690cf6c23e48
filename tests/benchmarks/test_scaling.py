"""The benchmark of time and memory against size: sizes, peers, ratios, the table."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import baselines, scaling
from medapp.imaging.volume import Volume
from medapp.serving import runtime

OBLIQUE = np.array([[0, 0, 4, -10], [-1.2, 0.1, 0, 5], [0.1, 1.2, 0, 8], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(40, 32, 20), (64, 48, 1), (64, 48, 1, 3)])
def test_the_same_field_of_view_has_so_many_times_the_voxels(size, shape):
    volume = Volume(np.zeros(shape, np.uint8 if len(shape) == 4 else np.float32), OBLIQUE)
    drawn = scaling.resize_volume(volume, size)
    assert np.prod(drawn.shape) == pytest.approx(size * np.prod(volume.shape), rel=0.08)
    assert drawn.array.dtype == volume.array.dtype and drawn.is_colour == volume.is_colour
    np.testing.assert_allclose(drawn.spacing * drawn.shape, volume.spacing * volume.shape, rtol=0.05)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_plain_network_is_of_like_size(dims):
    conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
    net = nn.Sequential(conv(1, 64, 3), conv(64, 64, 3))
    twin = baselines.matching_unet(net)
    assert isinstance(twin.head, conv) and baselines.count_parameters(twin) == pytest.approx(
        baselines.count_parameters(net), rel=0.5
    )
    x = torch.zeros(2, 1, *(8,) * dims)
    assert baselines.UNet(dims, 2).eval()(x).shape == x.shape
    baselines.run_unet(baselines.UNet(dims, 2).eval(), Volume(np.zeros((9, 7, 5)), OBLIQUE), "cpu")


def test_peers_follow_from_the_cards():
    names = {name: baselines.baseline_name(card, "cpu") for name, card in runtime.load_cards().items()}
    assert names["segment_glioma_ar2unet"] == "plain U-Net" and names["restore_ct_rat"] == "non-local means"
    assert names["restore_pathology_rat"] == "bicubic" and names["find_regions_sam"] == ""
    assert names["register_brain_textscf"] in ("greedy", "demons")
    assert baselines.baseline_name(runtime.find_card("restore_ct_rat"), "cuda") == ""


def test_ratios_are_to_size_1_and_to_the_peer():
    def measures(way: scaling.Way) -> list[dict]:
        seconds = way.size * (1 if way.peer else 3)
        one = {"voxels": 10**6, "seconds": seconds, "cpu_seconds": seconds, "memory_mb": 500.0, "gpu_mb": 0.0}
        return [one | {"seconds": seconds + 1}, one | {"memory_mb": 700.0}]

    ways = [scaling.Way("restore_ct_rat", peer, "cpu", 1, s) for s in (0.5, 1.0, 2.0) for peer in (False, True)]
    rows = scaling.result_rows({way: measures(way) for way in ways} | {ways[0]._replace(threads=2): []})
    assert [row["times_size_1"] for row in rows] == [0.5, 1, 2] and {row["times_peer_seconds"] for row in rows} == {3}
    assert all(tuple(row) == scaling.COLUMNS and row["memory_mb"] == 600 for row in rows)
    text = scaling.render_table(rows)
    seconds, ratios = "1.50 / 3.00 / 6.00", "3.00 / 3.00 / 3.00 | 1.00 / 1.00 / 1.00"
    figures = f"1.00 / 1.00 / 1.00 | {seconds} | {seconds} | 600 / 600 / 600 | {ratios}"
    line = f"| restore_ct_rat | non-local means | 1 thread | {figures} |"
    assert text.splitlines()[2:] == [line]


def test_a_measurement_that_fails_is_told_and_left(monkeypatch, capsys):
    way = scaling.Way("restore_ct_rat", False, "cpu", 1, 1.0)
    asked = []

    def run(command, **_):
        asked.append(json.loads(command[-1]))
        return SimpleNamespace(returncode=len(asked) - 1, stdout='note\n{"seconds": 1}\n', stderr="Trace\nno memory\n")

    monkeypatch.setattr(scaling.subprocess, "run", run)
    assert scaling.measure_in_process(way) == {"seconds": 1} and scaling.measure_in_process(way) is None
    assert scaling.Way(*asked[0]) == way and "no memory" in capsys.readouterr().err
