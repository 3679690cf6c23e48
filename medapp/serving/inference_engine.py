"""Engine: a network made ready for one device, in the fastest form that gives the answer of plain torch.

On a CPU that is OpenVINO, slice by slice: for convolutional networks it takes a third of the time, the processor's
cache matters more than the batch, and slices on separate threads never wait for each other. Each form is compared with
torch float32 on a noise image before it serves, once for every image size; what disagrees is not used.

A network that says `traceable = False` (its computation depends on what it is given) stays in torch and may take
further arguments, such as a map of regions; its 16-bit form is compared once, on a small image, for any size.
`tolerance` on a network takes the place of TOLERANCE.
"""

import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medapp.hardware import choose_half_precision, count_processors, limit_to_one_thread
from medapp.networks.blocks import fuse_batchnorm

log = logging.getLogger(__name__)

TOLERANCE = 0.03  # of the norm of the answer: AR2-UNet in bfloat16 is off by 0.01 on noise, an engine gone wrong by 1
MAX_COMPILED_SIZES = 4  # image sizes for which the compiled network is kept
PROBE_PIXELS = 64  # pixels a side of the image on which a network that cannot be traced is compared
Forward = Callable[..., Tensor]


class Engine:
    """Maps (B, C, *size) on the CPU to the network's output, float32 on the CPU. Not for two threads at once.

    Further arguments, tensors whose last axes lie on the image, are handed on to a network that is not `traceable`.

    `wanted` is "auto", "torch" or "openvino". `folder`, if given, keeps the converted network for the next process.
    `name` and `precision` tell what served the last call. A network of several that are asked one by one is asked by
    `get_submodule`, as the module itself would be.
    """

    def __init__(self, net: nn.Module, device: str = "cpu", wanted: str = "auto", folder: Path | None = None):
        self.traceable = getattr(net, "traceable", True)
        self.tolerance = getattr(net, "tolerance", TOLERANCE)
        self.net = fuse_batchnorm(net.eval()).requires_grad_(False).to(device)
        self.device, self.wanted, self.folder = device, wanted, folder
        self.name, self.precision = "torch", "fp32"
        self._model: Any = None
        self._ready: dict[tuple[tuple[int, ...], bool], tuple[Forward, str, str]] = {}
        self._parts: dict[str, Engine] = {}
        self._whole = self

    def get_submodule(self, name: str) -> "Engine":
        """The engine of one part of the network, made once; the whole tells by what the part asked last was served."""
        if name not in self._parts:
            folder = self.folder and self.folder.with_name(f"{self.folder.name}-{name}")
            part = Engine(self.net.get_submodule(name), self.device, self.wanted, folder)
            part._whole = self
            self._parts[name] = part
        return self._parts[name]

    @torch.inference_mode()
    def __call__(self, x: Tensor, *more: Tensor) -> Tensor:
        x, size = x.float(), tuple(x.shape[1:])
        many = len(x) > 1 or (size, True) in self._ready
        if not self.traceable:
            size, many = (size[0],), False
        if (size, many) not in self._ready:
            while len(self._ready) >= MAX_COMPILED_SIZES:
                del self._ready[next(iter(self._ready))]
            self._ready[size, many] = self._choose(*self._probe(x, more), many)
        forward, self.name, self.precision = self._ready[size, many]
        self._whole.name, self._whole.precision = self.name, self.precision
        return forward(x, *more)

    @torch.inference_mode()
    def labels(self, x: Tensor) -> Tensor:
        """What the network's own `labels` makes of (B, C, *size), on the CPU, in the 16-bit type if its output agrees.

        For networks in torch whose output at every voxel would be too much to keep.
        """
        return self._asked(self.net.labels, x).cpu()

    @torch.inference_mode()
    def forward_with_attention(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The network's output for (B, C, *size) and its attention, in the 16-bit type if its output agrees."""
        out, seen = self._asked(self.net.forward_with_attention, x)
        return out.float().cpu(), [each.float().cpu() for each in seen]

    def _asked(self, ask: Callable[[Tensor], Any], x: Tensor) -> Any:
        """The answer in torch, in the 16-bit type if the network's output on noise agrees."""
        x = x.float()
        key = ((x.shape[1],), False)
        if key not in self._ready:
            corner = x[(..., *(slice(PROBE_PIXELS) for _ in x.shape[2:]))]
            self._ready[key] = self._choose(make_probe_image((1, *corner.shape[1:])), (), False)
        _, self.name, self.precision = self._ready[key]
        dtype = choose_half_precision(self.device) if self.precision != "fp32" else None
        with torch.autocast(torch.device(self.device).type, dtype, enabled=dtype is not None):
            return ask(x.to(self.device))

    def _probe(self, x: Tensor, more: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A noise image of the size of `x`, small if it cannot be traced, and what of `more` lies on such an image."""
        if self.traceable:
            return make_probe_image((1, *x.shape[1:])), more
        sizes = [min(PROBE_PIXELS, n) for n in x.shape[2:]]
        corner = []
        for each in more:
            share = zip(each.shape[-len(sizes) :], x.shape[2:], sizes, strict=True)
            box = tuple(slice(round(n * small / whole)) for n, whole, small in share)
            corner.append(each[(slice(1), ..., *box)])
        return make_probe_image((1, x.shape[1], *sizes)), tuple(corner)

    def _choose(self, probe: Tensor, more: tuple[Tensor, ...], many: bool) -> tuple[Forward, str, str]:
        """The first form that agrees with torch float32 on the probe (1, C, *spatial), its name and precision.

        `many` tells that several such items come at once.
        """
        plain = self._torch(None)
        with limit_to_one_thread():
            expected = plain(probe, *more)
        for forward, name, precision in self._forms(probe, many):
            error = float((forward(probe, *more) - expected).norm() / expected.norm().clamp_min(1e-12))
            if error <= self.tolerance:
                return forward, name, precision
            log.warning("%s in %s is not used: it differs from torch by %.2g of the answer", name, precision, error)
        return plain, "torch", "fp32"

    def _forms(self, probe: Tensor, many: bool) -> Iterator[tuple[Forward, str, str]]:
        """The forms worth trying, the fastest first."""
        if self.traceable and self.device == "cpu" and self.wanted != "torch" and find_spec("openvino"):
            try:
                yield from self._openvino_forms(probe, many)
            except Exception as error:  # whatever ails an engine, torch can serve
                log.warning("OpenVINO cannot run this network: %s", error)
        dtype = choose_half_precision(self.device)
        if dtype:
            yield self._torch(dtype), "torch", {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]

    def _torch(self, dtype: torch.dtype | None) -> Forward:
        """The network in torch, under autocast to `dtype` where there is one."""

        def forward(x: Tensor, *more: Tensor) -> Tensor:
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)
            x = x.to(self.device).contiguous(memory_format=layout)
            with torch.autocast(torch.device(self.device).type, dtype, enabled=dtype is not None):
                return self.net(x, *(each.to(self.device) for each in more)).float().cpu().contiguous()

        return forward

    def _openvino_forms(self, probe: Tensor, many: bool) -> Iterator[tuple[Forward, str, str]]:
        """OpenVINO in the precision it prefers on this processor, then in float32."""
        openvino = import_openvino()
        core = openvino.Core()
        options = {"PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY", "INFERENCE_NUM_THREADS": count_processors()}
        for model in self._models(core, probe):
            with suppress(RuntimeError):  # converted for another size, it may not bend to this one
                model.reshape([1, *probe.shape[1:]])
                for hint in ({}, {"INFERENCE_PRECISION_HINT": "f32"}):
                    compiled = core.compile_model(model, "CPU", options | hint)
                    kind = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
                    precision = {"f32": "fp32", "f16": "fp16"}.get(kind, kind)
                    yield _run_in_streams(openvino.AsyncInferQueue(compiled)), "openvino", precision

    def _models(self, core: Any, probe: Tensor) -> Iterator[Any]:
        """The network in OpenVINO's form: as it served before, as the folder keeps it, and converted anew."""
        openvino = import_openvino()
        if self._model is not None:
            yield self._model
        kept = self.folder / "network.xml" if self.folder else None
        if kept and kept.is_file():
            with suppress(RuntimeError):  # a file that cannot be read counts as none
                self._model = core.read_model(kept)
                yield self._model
        with limit_to_one_thread(), torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of shapes that it takes for constants
            example = probe.clone()
            traced = torch.jit.trace(self.net, example, check_trace=False)
            self._model = model = openvino.convert_model(traced, example_input=example)
        if self.folder:
            write_folder(
                lambda folder: openvino.save_model(model, folder / "network.xml", compress_to_fp16=False), self.folder
            )
        yield model


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which tells Google Analytics of every import and every conversion."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # so that it cannot be imported
    import openvino

    return openvino


def _run_in_streams(queue: Any) -> Forward:
    """A forward that gives every item of the batch to the next free stream."""

    def forward(x: Tensor) -> Tensor:
        answers: list[Any] = [None] * len(x)
        queue.set_callback(lambda request, at: answers.__setitem__(at, torch.tensor(request.get_output_tensor(0).data)))
        for at, item in enumerate(x.numpy()):
            queue.start_async({0: item[None]}, at)
        queue.wait_all()
        return torch.cat(answers)

    return forward


def make_probe_image(shape: tuple[int, ...]) -> Tensor:
    """Standardised blobs with grain, always the same: an image that excites a network at every scale."""
    chance = torch.Generator().manual_seed(0)
    blobs = torch.randn((*shape[:2], *(8 for _ in shape[2:])), generator=chance)
    grain = torch.randn(shape, generator=chance)
    return functional.interpolate(blobs, shape[2:]) + 0.3 * grain


def write_folder(write: Callable[[Path], None], folder: Path) -> None:
    """Let `write` fill `folder`, which appears whole or not at all; a disk that cannot be written is no error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            write(fresh)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        log.info("The converted network is not kept: %s", error)
