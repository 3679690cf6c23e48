"""Run a pipeline on the device: `run(name, *volumes, **options)`, one run at a time.

Environment: MEDAPP_ENGINE is "auto", "torch" or "openvino"; converted networks are kept in the folder of `cache`. On a
ZeroGPU Space the run takes place in the process that holds the GPU.
"""

import os

if os.environ.get("SPACES_ZERO_GPU"):  # before torch, which it patches; a Space brings it
    import spaces
else:
    spaces = None

import importlib
import pkgutil
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch

import medapp
from medapp import hardware, pipelines
from medapp.cache import cache_folder
from medapp.card import Card
from medapp.errors import InputError, OptionError, UserError
from medapp.imaging.volume import Volume, digest_volume
from medapp.options import RenamedWarning, renaming_note
from medapp.result import Provenance, Result
from medapp.serving import input_fit, run_log, weight_files
from medapp.serving.inference_engine import Engine
from medapp.serving.network_loading import build_network
from medapp.serving.worker_thread import call_in_worker

Progress = Callable[[float, str], None]
Inputs = tuple[Volume | None, ...]
ENGINES = ("auto", "torch", "openvino")

_serves_a_page = False  # whose answers go before what is computed
_device_lock = threading.Lock()  # held by the run that uses the device
loaded_engines: dict[tuple[str, str, str], Engine] = {}  # by sha256 of the weights, device and kind of engine
loaded_networks: dict[tuple[str, str], Any] = {}  # by sha256 of the weights and device


@cache
def load_cards() -> dict[str, Card]:
    """Return the card of every pipeline that is offered by name, ordered by task, then name, companions last.

    A card whose sha256 is all zeros has no weights yet and is left out. The first call imports them.
    """
    with_weights = [card for card in import_cards() if card.weights.sha256.strip("0")]
    return {
        card.name: card for card in sorted(with_weights, key=lambda card: (card.task, card.is_companion, card.name))
    }


def import_cards() -> list[Card]:
    """Return the card of every pipeline, also of those without weights."""
    names = [m.name for m in pkgutil.iter_modules(pipelines.__path__) if not m.name.startswith("_")]
    return [importlib.import_module(f"{pipelines.__name__}.{name}").CARD for name in names]


def find_card_of(result: Result) -> Card:
    """Return the card of the method that made a result of `run`."""
    assert result.provenance is not None  # `run` has given it
    return find_card(result.provenance.pipeline)


def find_card(name: str) -> Card:
    """Return the card of that name, or of that former name with a RenamedWarning.

    Raises OptionError, which lists the names there are.
    """
    if name in load_cards():
        return load_cards()[name]
    for card in load_cards().values():
        if name in card.former:
            warnings.warn(renaming_note(name, card.name), RenamedWarning, stacklevel=2)
            return card
    raise OptionError(f"There is no method {name!r}; there are: {', '.join(load_cards())}.")


def run(
    name: str,
    *volumes: Volume | None,
    progress: Progress | None = None,
    device: str | None = None,
    **options: object,
) -> Result:
    """Run a pipeline on its inputs, in the card's order (optional ones None or left out), and return its result.

    `progress(fraction, stage)` is called between steps and while waiting for another run; an exception that it raises
    ends the run, so raising CancelledError cancels. `device` is "cuda", "mps" or "cpu"; by default the first of these
    that is available. The result's provenance tells how it was made. Raises OptionError, InputError, WeightsError.
    """
    card = find_card(name)
    settings = card.parse_settings(options)
    inputs = card.arrange_inputs(volumes)
    for source, volume in zip(card.inputs, inputs, strict=True):
        if volume is None and not source.optional:
            raise InputError(f"{card.title} needs an input that is missing: {source.title}.")
    with run_log.log_run(card.name, inputs) as log_entry:
        if spaces:
            answer = run_on_zerogpu(card.name, inputs, settings, device)
            if isinstance(answer, UserError):
                raise answer
        else:
            answer = _run_locked(card, inputs, settings, device, progress or _ignore_progress)
        answer = input_fit.add_doubts(card, inputs, answer)
        if origin := answer.provenance:
            log_entry |= {"device": origin.device, "engine": origin.engine, "peak_memory_mb": origin.peak_memory_mb}
        return answer


def serve_page() -> None:
    """Let whatever else this process does go before what it computes, from now on."""
    global _serves_a_page
    _serves_a_page = True


def _run_locked(card: Card, inputs: Inputs, settings: dict[str, Any], device: str | None, progress: Progress) -> Result:
    """Wait for the device, run on it (on the CPU if a GPU's memory is full), and add the provenance."""
    devices = dict.fromkeys((select_device(device), "cpu"))
    while not _device_lock.acquire(timeout=0.5):
        progress(0.0, "Waiting for another run to end")
    try:
        started = time.perf_counter()
        notes: tuple[str, ...] = ()
        for used_device in devices:
            hardware.reset_peak_memory(used_device)
            try:
                further: dict[str, str] = {}
                job = partial(_run_on_device, card, inputs, settings, used_device, progress, further)
                result, engine, located = call_in_worker(job) if _serves_a_page else job()
                break
            except DeviceMemoryFull as error:
                notes = (str(error),)
        origin = Provenance(
            pipeline=card.name,
            weights={"file": card.weights.file, "sha256": located.sha256, "source": located.source, **further},
            device=hardware.describe_device(used_device),
            precision=engine.precision if engine else "fp32",
            engine=engine.name if engine else "torch",
            seconds=round(time.perf_counter() - started, 3),
            peak_memory_mb=hardware.read_peak_memory(),
            versions=hardware.list_versions(engine.name if engine else "torch"),
            inputs={
                name: digest_volume(volume) for name, volume in card.name_inputs(inputs).items() if volume is not None
            },
        )
        progress(1.0, "Done")
        return replace(result, notes=(*result.notes, *notes), provenance=origin)
    finally:
        _device_lock.release()


def _run_on_device(
    card: Card, inputs: Inputs, settings: dict[str, Any], device: str, progress: Progress, further: dict[str, str]
) -> tuple[Result, Engine | None, weight_files.LocatedWeights]:
    """Run the pipeline; `further` gets an entry for every further network that the pipeline asks for.

    Raises DeviceMemoryFull where a device other than the CPU runs out of memory.
    """
    progress(0.0, "Loading weights")
    more = {"get_network": partial(load_network, card, device, further)} if card.networks else {}
    try:
        if card.build is None:
            engine, located = None, weight_files.locate_weights(card.weights)
        else:
            engine, located = load_engine(card, device)
        with torch.inference_mode():
            return card.run(engine, *inputs, progress=progress, **more, **settings), engine, located
    except RuntimeError as error:
        if device == "cpu" or "out of memory" not in str(error).lower():
            raise
    torch.cuda.empty_cache()
    raise DeviceMemoryFull(f"The {device} device ran out of memory; the result was computed on the CPU instead.")


def load_engine(card: Card, device: str) -> tuple[Engine, weight_files.LocatedWeights]:
    """Return the card's network in an engine, made once a process, and its weights file; for one thread at a time.

    Raises OptionError for an unknown MEDAPP_ENGINE, WeightsError if the weights are missing or do not fit.
    """
    kind = os.environ.get("MEDAPP_ENGINE", "auto").lower()
    if kind not in ENGINES or (kind == "openvino" and not find_spec("openvino")):
        raise OptionError(f"MEDAPP_ENGINE is {kind!r}, which is not installed or not one of {', '.join(ENGINES)}.")
    located = weight_files.locate_weights(card.weights)
    key = (located.sha256, device, kind)
    if key not in loaded_engines:
        assert card.build is not None
        net = build_network(card.build, located, card.name)
        shape = zlib.crc32(repr(getattr(card.build, "keywords", None)).encode())
        versions = f"{medapp.__version__}-{hardware.find_version('openvino')}"
        folder = f"{card.name}-{located.sha256[:12]}-{shape:08x}-{versions}"
        loaded_engines[key] = Engine(net, device, kind, cache_folder() / folder)
    return loaded_engines[key], located


def load_network(card: Card, device: str, further: dict[str, str], name: str) -> Any:
    """Return one of the card's further networks in eval mode on the device, made once a process.

    `further` gets an entry on its weights for the provenance. For one thread at a time. Raises WeightsError.
    """
    network = card.networks[name]
    located = weight_files.locate_weights(network.weights)
    further[name] = f"{network.weights.file}, sha256 {located.sha256}, {located.source}"
    key = (located.sha256, device)
    if key not in loaded_networks:
        net = build_network(network.build, located, name)
        loaded_networks[key] = net.eval().requires_grad_(False).to(device)
    return loaded_networks[key]


def select_device(device: str | None) -> str:
    """Return `device`, or the best one available if it is None; raises OptionError if it is not available."""
    available = hardware.list_devices()
    if device is not None and device not in available:
        raise OptionError(f"There is no device {device!r} here; available: {', '.join(available)}.")
    return device or available[0]


class DeviceMemoryFull(Exception):
    """A device other than the CPU has run out of memory."""


def _ignore_progress(fraction: float, stage: str) -> None:
    """Take the progress of a run that nobody watches."""


def estimate_gpu_seconds(name: str, inputs: Inputs, settings: dict[str, Any], device: str | None) -> int:
    """Estimate the seconds to ask of the ZeroGPU quota: 20 to start and load, and one a million voxels."""
    return 20 + sum(volume.array.size for volume in inputs if volume is not None) // 1_000_000


def run_on_zerogpu(name: str, inputs: Inputs, settings: dict[str, Any], device: str | None) -> Result | UserError:
    """Run inside the ZeroGPU process; everything is pickled, so there is no progress and a UserError is returned."""
    try:
        return _run_locked(find_card(name), inputs, settings, device, _ignore_progress)
    except UserError as error:
        return error


if spaces:
    run_on_zerogpu = spaces.GPU(duration=estimate_gpu_seconds)(run_on_zerogpu)
