"""A tiny pipeline with weights of its own, run through the door: provenance, engines, errors, turns, cancelling."""

import hashlib
import pickle
import sys
import threading
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from medapp import hardware
from medapp.card import Card, Input, Network, Weights
from medapp.errors import CancelledError, InputError, OptionError, WeightsError
from medapp.imaging.volume import Volume
from medapp.networks.ar2unet import AR2UNet
from medapp.networks.blocks import fuse_batchnorm
from medapp.options import Slider
from medapp.result import Result
from medapp.serving import inference_engine, network_loading, runtime
from medapp.serving.inference_engine import Engine

build = partial(AR2UNet, in_channels=1, classes=1, width=2, gate="encoder")
IMAGE = Volume(np.random.default_rng(0).normal(size=(32, 48, 3)).astype(np.float32), np.eye(4))


def segment(net, image, prior, *, progress, threshold):
    progress(0.1, "Slices")
    assert torch.is_inference_mode_enabled()
    x = torch.from_numpy(np.moveaxis(image.array, 2, 0).copy())[:, None]
    y = net(x)
    assert y.dtype == torch.float32 and y.device.type == "cpu" and y.shape == x.shape
    return Result(
        {"probability": image.new_like(np.moveaxis(y[:, 0].numpy(), 0, 2))}, settings={"threshold": threshold}
    )


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> Card:
    """A trained-looking network on disk, and its card as the only one there is."""
    torch.manual_seed(0)
    net = build()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "segment_tiny.safetensors"
    save_file(state, file)
    weights = Weights(file.name, "nobody/nothing", "main", hashlib.sha256(file.read_bytes()).hexdigest())
    inputs = (Input("image", "Image"), Input("prior", "Prior", optional=True))
    options = (Slider("threshold", "Threshold", 0, 1, 0.1, 0.5),)
    texts = dict.fromkeys(("about", "licence", "cite", "trained_on", "scores", "limits"), "-")
    card = Card("segment_tiny", "segmentation", "lesions", "Tiny", inputs=inputs, options=options,
                weights=weights, build=build, run=segment, **texts)  # fmt: skip
    monkeypatch.setattr(runtime, "load_cards", lambda: {card.name: card})
    monkeypatch.setattr(runtime, "loaded_engines", {})
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(file.parent))
    monkeypatch.setenv("MEDAPP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDAPP_ENGINE", raising=False)
    return card


def test_the_pipelines_are_found_in_order():
    names = list(runtime.load_cards())
    assert "segment_glioma_ar2unet" in names
    cards = runtime.load_cards()
    assert names == sorted(names, key=lambda name: (cards[name].task, cards[name].is_companion, name))
    assert all(runtime.find_card(name).name == name for name in names)


def test_a_result_says_where_it_comes_from(tiny):
    calls = []
    progress = lambda fraction, stage: calls.append((fraction, stage))  # noqa: E731
    result = runtime.run("segment_tiny", IMAGE, progress=progress, device="cpu", threshold="0.3")
    origin = result.provenance
    assert origin.pipeline == "segment_tiny"
    assert origin.weights == {"file": tiny.weights.file, "sha256": tiny.weights.sha256, "source": "beside the app"}
    assert origin.device.startswith("cpu (") and origin.precision in ("fp32", "bf16", "fp16")
    assert origin.engine in ("openvino", "torch") and origin.engine in origin.versions
    assert origin.seconds > 0 and 20 < origin.peak_memory_mb < 100_000
    assert {"medapp", "python", "torch", "numpy", "nibabel"} <= set(origin.versions)
    assert result.settings == {"threshold": 0.3}
    assert calls[0] == (0.0, "Loading weights") and (0.1, "Slices") in calls and calls[-1] == (1.0, "Done")
    assert pickle.loads(pickle.dumps(result)).provenance == origin  # as a ZeroGPU process hands it over


@pytest.mark.parametrize("wanted", ["torch", "openvino", "auto"])
def test_every_engine_gives_the_answer_of_the_plain_network(tiny, monkeypatch, wanted):
    if wanted == "openvino":
        find_spec("openvino") or pytest.skip("no OpenVINO here")
    monkeypatch.setenv("MEDAPP_ENGINE", wanted)
    result = runtime.run("segment_tiny", IMAGE, device="cpu")
    plain = build().eval()
    state = load_file(runtime.weight_files.locate_weights(tiny.weights).path)
    plain.load_state_dict({k: v.float() for k, v in state.items()})
    with torch.inference_mode():
        expected = plain(torch.from_numpy(np.moveaxis(IMAGE.array, 2, 0).copy())[:, None])[:, 0]
    got = torch.from_numpy(np.moveaxis(result.volumes["probability"].array, 2, 0).copy())
    assert (got - expected).norm() / expected.norm() < 2 * inference_engine.TOLERANCE
    assert wanted == "auto" or result.provenance.engine == wanted


def test_the_network_is_made_ready_once(tiny, monkeypatch):
    runtime.run("segment_tiny", IMAGE, device="cpu")
    monkeypatch.setattr(network_loading, "load_file", None)
    runtime.run("segment_tiny", IMAGE, None, device="cpu")


def test_what_cannot_be_run_is_said_in_words(tiny, monkeypatch):
    with pytest.raises(OptionError, match=r"nonsense.*segment_tiny"):
        runtime.run("nonsense", IMAGE)
    with pytest.raises(OptionError, match="no option"):
        runtime.run("segment_tiny", IMAGE, nonsense=1)
    with pytest.raises(OptionError, match="abacus"):
        runtime.run("segment_tiny", IMAGE, device="abacus")
    with pytest.raises(InputError, match="takes 1 image"):
        runtime.run("segment_tiny")
    with pytest.raises(InputError, match="Image"):
        runtime.run("segment_tiny", None, IMAGE)
    monkeypatch.setenv("MEDAPP_ENGINE", "steam")
    with pytest.raises(OptionError, match="MEDAPP_ENGINE"):
        runtime.run("segment_tiny", IMAGE)


def test_no_untrained_network_answers(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError):
        runtime.run("segment_tiny", IMAGE)
    assert not runtime.loaded_engines


def test_weights_of_another_network_are_refused(tiny, monkeypatch):
    other = Card(**{**vars(tiny), "build": partial(build, width=4)})
    monkeypatch.setattr(runtime, "load_cards", lambda: {other.name: other})
    with pytest.raises(WeightsError, match="does not fit"):
        runtime.run("segment_tiny", IMAGE)


@pytest.fixture
def helped(tiny, monkeypatch, tmp_path) -> Card:
    """The tiny pipeline with a further network, whose weights are another's .pth; its answer is that network's."""
    torch.manual_seed(1)
    torch.save(build().state_dict(), file := tmp_path / "weights" / "other.pth")
    other = Weights(
        "folder/other.pth", "no/body", "main", hashlib.sha256(file.read_bytes()).hexdigest(), third_party=True
    )

    def run(net, image, prior, *, progress, get_network, threshold):
        further = get_network("other")
        assert isinstance(further, nn.Module) and not further.training and further is get_network("other")
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in further.parameters())
        y = further(torch.from_numpy(np.moveaxis(image.array, 2, 0).copy())[:, None])
        return Result({"probability": image.new_like(np.moveaxis(y[:, 0].numpy(), 0, 2))})

    card = replace(tiny, run=run, networks={"other": Network(other, build)})
    monkeypatch.setattr(runtime, "load_cards", lambda: {card.name: card})
    monkeypatch.setattr(runtime, "loaded_networks", {})
    return card


@pytest.mark.parametrize("own", [True, False])
def test_a_further_network_is_loaded_when_asked_for_and_said(helped, monkeypatch, own):
    card = helped if own else replace(helped, build=None, weights=helped.networks["other"].weights)
    monkeypatch.setattr(runtime, "load_cards", lambda: {card.name: card})
    results = [runtime.run(card.name, IMAGE, device="cpu") for _ in range(2)]
    assert len(runtime.loaded_networks) == 1 and len(runtime.loaded_engines) == own
    weights = results[0].provenance.weights
    assert "folder/other.pth" in weights["other"] and helped.networks["other"].weights.sha256 in weights["other"]
    np.testing.assert_array_equal(*(result.volumes["probability"].array for result in results))


def test_a_pth_runs_no_code_and_must_fit(helped, monkeypatch, tmp_path):
    file = tmp_path / "weights" / "other.pth"
    for content, words in (({"weight": torch.zeros(2)}, "does not fit"), (pickle.Pickler, "does not fit")):
        torch.save(content, file)
        weights = replace(helped.networks["other"].weights, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
        card = replace(helped, networks={"other": Network(weights, build)})
        monkeypatch.setattr(runtime, "load_cards", lambda card=card: {card.name: card})
        with pytest.raises(WeightsError, match=words):
            runtime.run(card.name, IMAGE, device="cpu")


def test_cancelling_and_bugs_leave_the_door_open(tiny):
    def cancel(fraction, stage):
        if stage == "Slices":
            raise CancelledError("Cancelled.")

    def bug(fraction, stage):
        raise ZeroDivisionError

    with pytest.raises(CancelledError):
        runtime.run("segment_tiny", IMAGE, progress=cancel)
    with pytest.raises(ZeroDivisionError):
        runtime.run("segment_tiny", IMAGE, progress=bug)
    assert runtime.run("segment_tiny", IMAGE).provenance


def test_one_run_at_a_time_and_the_waiting_one_can_be_cancelled(tiny):
    inside, leave = threading.Event(), threading.Event()

    def slow(fraction, stage):
        inside.set()
        assert leave.wait(30)

    first = threading.Thread(target=runtime.run, args=("segment_tiny", IMAGE), kwargs={"progress": slow})
    first.start()
    assert inside.wait(30)

    def impatient(fraction, stage):
        assert stage.startswith("Waiting")
        raise CancelledError("Cancelled.")

    with pytest.raises(CancelledError):
        runtime.run("segment_tiny", IMAGE, progress=impatient)
    leave.set()
    first.join(30)
    assert runtime.run("segment_tiny", IMAGE).provenance


def test_a_full_graphics_card_hands_over_to_the_cpu(tiny, monkeypatch):
    def full(net, device, *more):
        if device == "mps":
            raise RuntimeError("MPS backend out of memory")
        return Engine(net, device, *more)

    monkeypatch.setattr(runtime, "Engine", full)
    monkeypatch.setattr(hardware, "list_devices", lambda: ("mps", "cpu"))
    result = runtime.run("segment_tiny", IMAGE)
    assert result.provenance.device.startswith("cpu")
    assert any("mps" in note and "memory" in note for note in result.notes)


def test_zerogpu_gets_plain_values_and_gives_user_errors_back(tiny, monkeypatch):
    monkeypatch.setattr(runtime, "spaces", object())

    def process(*arguments):
        assert runtime.estimate_gpu_seconds(*arguments) >= 20
        return pickle.loads(pickle.dumps(original(*pickle.loads(pickle.dumps(arguments)))))

    original = runtime.run_on_zerogpu
    monkeypatch.setattr(runtime, "run_on_zerogpu", process)
    assert runtime.run("segment_tiny", IMAGE).provenance.pipeline == "segment_tiny"
    monkeypatch.setenv("MEDAPP_ENGINE", "steam")
    with pytest.raises(OptionError, match="MEDAPP_ENGINE"):
        runtime.run("segment_tiny", IMAGE)


def test_folding_changes_nothing_but_the_count_of_modules():
    torch.manual_seed(0)
    net = build()
    net(torch.randn(4, 1, 32, 32))  # gives the norms their statistics
    net.eval()
    x = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        before = net(x)
        after = fuse_batchnorm(net)(x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def test_without_openvino_torch_serves(monkeypatch):
    monkeypatch.setattr(inference_engine, "find_spec", lambda name: None)
    net = Engine(build())
    assert net(torch.randn(2, 1, 16, 16)).shape == (2, 1, 16, 16) and net.name == "torch"


@pytest.mark.parametrize("wanted", ["torch", "auto"])
def test_double_precision_is_taken(wanted):
    net = Engine(build(), "cpu", wanted)
    assert net(torch.randn(2, 1, 16, 16, dtype=torch.float64)).dtype == torch.float32


def test_an_engine_that_disagrees_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(inference_engine, "_run_in_streams", lambda queue: lambda x: torch.zeros(len(x), 1, 16, 16))
    net = Engine(build())
    net(torch.randn(2, 1, 16, 16))
    assert net.name == "torch"
    assert "openvino" not in sys.modules or "differs from torch" in caplog.text


def test_the_converted_network_is_kept_and_a_spoilt_or_stale_one_replaced(tmp_path, monkeypatch):
    openvino = inference_engine.import_openvino() if find_spec("openvino") else pytest.skip("no OpenVINO here")
    folder, x = tmp_path / "deep" / "net", torch.ones(2, 1, 16, 16)

    def fresh(seed=0):
        torch.manual_seed(seed)
        return Engine(build(), "cpu", "openvino", folder)

    expected = fresh()(x)
    conversions = []
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda *a, **k: conversions.append(1) or convert(*a, **k))
    torch.testing.assert_close(fresh()(x), expected)
    assert not conversions
    other = fresh(seed=1)
    other(x)
    assert len(conversions) == 1 and other.name == "openvino"
    (folder / "network.xml").write_text("spoilt")
    torch.testing.assert_close(fresh()(x), expected)
    assert len(conversions) == 2
    again = fresh()
    again(x)
    again(torch.ones(1, 1, 32, 16))  # another size of image
    assert len(conversions) == 2
    assert [p.name for p in folder.parent.iterdir()] == ["net"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    net = Engine(build(), "cpu", "auto", tmp_path / "file" / "net")
    assert net(torch.randn(1, 1, 16, 16)).shape == (1, 1, 16, 16)


def test_image_sizes_come_and_go(tiny):
    net = Engine(build())
    for side in (16, 32, 48, 64, 80):
        assert net(torch.randn(1, 1, side, 16)).shape == (1, 1, side, 16)
    assert len(net.prepared) <= inference_engine.MAX_COMPILED_SIZES


def test_peak_memory_is_that_of_the_run():
    hardware.reset_peak_memory("cpu")
    before = hardware.read_peak_memory()
    block = np.ones(40_000_000)  # 305 MB
    assert hardware.read_peak_memory() - before > 250
    del block
