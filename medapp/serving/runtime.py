"""The one door to the device: `run(name, *volumes, **options)`, one run at a time.

Environment: MEDAPP_ENGINE is "auto", "torch" or "openvino"; MEDAPP_CACHE is the folder for converted networks
(default `medapp` in the user's cache folder). On a ZeroGPU Space the run takes place in the process that holds the GPU.
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
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import medapp
from medapp import hardware, pipelines
from medapp.card import Card
from medapp.errors import InputError, OptionError, UserError, WeightsError
from medapp.imaging.volume import Volume
from medapp.options import RenamedWarning, renaming_note
from medapp.result import Provenance, Result
from medapp.serving import run_log, weight_files
from medapp.serving.inference_engine import Engine

Progress = Callable[[float, str], None]
Inputs = tuple[Volume | None, ...]
ENGINES = ("auto", "torch", "openvino")

_device_lock = threading.Lock()  # held by the run that is at the device, and while a network is made ready
_engines: dict[tuple[str, str, str], Engine] = {}
_aids: dict[tuple[str, str], Any] = {}


@cache
def load_cards() -> dict[str, Card]:
    """Every pipeline's card by name, ordered by task, then name. The pipelines are imported on the first call.

    A card whose sha256 is nothing but zeros has no weights yet and is left out.
    """
    names = [m.name for m in pkgutil.iter_modules(pipelines.__path__) if not m.name.startswith("_")]
    found = [importlib.import_module(f"{pipelines.__name__}.{name}").CARD for name in names]
    ready = [card for card in found if card.weights.sha256.strip("0")]
    return {card.name: card for card in sorted(ready, key=lambda card: (card.task, card.name))}


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
    """Run a pipeline on its inputs, in the card's order (optional ones None or all left out); the result says how.

    `progress(fraction, stage)` is called between steps, also while another run is waited for; what it raises ends the
    run, so raising CancelledError cancels. `device` is "cuda", "mps" or "cpu"; by default the first of these that is
    there.
    Raises OptionError, InputError, WeightsError.
    """
    chosen = find_card(name)
    settings = chosen.parse_settings(options)
    given = chosen.arrange_inputs(volumes)
    for source, volume in zip(chosen.inputs, given, strict=True):
        if volume is None and not source.optional:
            raise InputError(f"{chosen.title} needs a {source.title} image.")
    with run_log.log_run(chosen.name, given) as told:
        if spaces:
            answer = _run_on_zerogpu(chosen.name, given, settings, device)
            if isinstance(answer, UserError):
                raise answer
        else:
            answer = _run_locked(chosen, given, settings, device, progress or _ignore_progress)
        if made := answer.provenance:
            told |= {"device": made.device, "engine": made.engine, "peak_memory_mb": made.peak_memory_mb}
        return answer


def load_weights(name: str, device: str | None = None) -> None:
    """Load a pipeline's weights now rather than at its first run. Raises WeightsError."""
    with _device_lock:
        chosen, place = find_card(name), _select_device(device)
        if chosen.build is None:
            _load_aid(chosen, place, {}, next(n for n, a in chosen.networks.items() if a.weights == chosen.weights))
        else:
            _load_engine(chosen, place)


def _run_locked(
    chosen: Card, given: Inputs, settings: dict[str, Any], device: str | None, progress: Progress
) -> Result:
    places = dict.fromkeys((_select_device(device), "cpu"))  # the CPU, should a graphics card's memory not suffice
    while not _device_lock.acquire(timeout=0.5):
        progress(0.0, "Waiting for another run to end")
    try:
        started = time.perf_counter()
        notes: tuple[str, ...] = ()
        for place in places:
            hardware.reset_peak_memory(place)
            try:
                used: dict[str, str] = {}
                result, engine, located = _run_on_device(chosen, given, settings, place, progress, used)
                break
            except DeviceMemoryFull as full:
                notes = (str(full),)
        origin = Provenance(
            pipeline=chosen.name,
            weights={"file": chosen.weights.file, "sha256": located.sha256, "source": located.source, **used},
            device=hardware.describe_device(place),
            precision=engine.precision if engine else "fp32",
            engine=engine.name if engine else "torch",
            seconds=round(time.perf_counter() - started, 3),
            peak_memory_mb=hardware.read_peak_memory(),
            versions=hardware.list_versions(engine.name if engine else "torch"),
        )
        progress(1.0, "Done")
        return replace(result, notes=(*result.notes, *notes), provenance=origin)
    finally:
        _device_lock.release()


def _run_on_device(
    chosen: Card, given: Inputs, settings: dict[str, Any], place: str, progress: Progress, used: dict[str, str]
) -> tuple[Result, Engine | None, weight_files.LocatedWeights]:
    """The pipeline's result and what made it; `used` gets a line for every further network that was asked for.

    Raises GPUFull where a device other than the CPU runs out of memory.
    """
    progress(0.0, "Loading weights")
    more = {"get_network": partial(_load_aid, chosen, place, used)} if chosen.networks else {}
    try:
        if chosen.build is None:
            engine, located = None, weight_files.locate_weights(chosen.weights)
        else:
            engine, located = _load_engine(chosen, place)
        with torch.inference_mode():
            return chosen.run(engine, *given, progress=progress, **more, **settings), engine, located
    except RuntimeError as error:
        if place == "cpu" or "out of memory" not in str(error).lower():
            raise
    torch.cuda.empty_cache()
    raise DeviceMemoryFull(f"The memory of the {place} device did not suffice; this was computed on the CPU.")


def _load_engine(chosen: Card, place: str) -> tuple[Engine, weight_files.LocatedWeights]:
    """The pipeline's weights and its network, made ready once a process. The caller holds the door."""
    wanted = os.environ.get("MEDAPP_ENGINE", "auto").lower()
    if wanted not in ENGINES or (wanted == "openvino" and not find_spec("openvino")):
        raise OptionError(f"MEDAPP_ENGINE is {wanted!r}, which is not installed or not one of {', '.join(ENGINES)}.")
    located = weight_files.locate_weights(chosen.weights)
    key = (located.sha256, place, wanted)
    if key not in _engines:
        assert chosen.build is not None
        net = _load_network(chosen.build, located, chosen.name)
        shape = zlib.crc32(repr(getattr(chosen.build, "keywords", None)).encode())
        versions = f"{medapp.__version__}-{hardware.find_version('openvino')}"
        mark = f"{chosen.name}-{located.sha256[:12]}-{shape:08x}-{versions}"
        _engines[key] = Engine(net, place, wanted, _cache_folder() / mark)
    return _engines[key], located


def _load_aid(chosen: Card, place: str, used: dict[str, str], name: str) -> Any:
    """A further network of the card in eval mode on the device, made once a process. The caller holds the door."""
    wanted = chosen.networks[name]
    located = weight_files.locate_weights(wanted.weights)
    used[name] = f"{wanted.weights.file}, sha256 {located.sha256}, {located.source}"
    key = (located.sha256, place)
    if key not in _aids:
        _aids[key] = _load_network(wanted.build, located, name).eval().requires_grad_(False).to(place)
    return _aids[key]


def _load_network(build: Callable[[], Any], located: weight_files.LocatedWeights, name: str) -> Any:
    """A new network with the weights of the file, as float32. Raises WeightsError if they do not fit."""
    torch.set_num_threads(hardware.count_processors())
    net, file = build(), located.path
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        net.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    except (SafetensorError, RuntimeError, UnpicklingError) as error:
        raise WeightsError(f"{file.name} does not fit the network of {name}.") from error
    return net


def _select_device(wanted: str | None) -> str:
    there = hardware.list_devices()
    if wanted is not None and wanted not in there:
        raise OptionError(f"There is no device {wanted!r} here; there is {', '.join(there)}.")
    return wanted or there[0]


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(os.environ.get("MEDAPP_CACHE") or Path(home) / "medapp")


class DeviceMemoryFull(Exception):
    """A device other than the CPU has no memory left."""


def _ignore_progress(fraction: float, stage: str) -> None:
    """Progress for nobody."""


def _estimate_gpu_seconds(name: str, given: Inputs, settings: dict[str, Any], device: str | None) -> int:
    """Seconds asked of the ZeroGPU quota: to reach the device and load, then by the voxels. Estimated, unmeasured."""
    return 20 + sum(volume.array.size for volume in given if volume is not None) // 1_000_000


def _run_on_zerogpu(name: str, given: Inputs, settings: dict[str, Any], device: str | None) -> Result | UserError:
    """The run inside the ZeroGPU process. All in and out is pickled: no progress, and a user's error is handed back."""
    try:
        return _run_locked(find_card(name), given, settings, device, _ignore_progress)
    except UserError as error:
        return error


if spaces:
    _run_on_zerogpu = spaces.GPU(duration=_estimate_gpu_seconds)(_run_on_zerogpu)
