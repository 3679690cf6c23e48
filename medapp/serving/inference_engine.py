"""Prepare a network for one device in the fastest form that gives the answer of plain torch.

On a CPU that is OpenVINO, slice by slice: convolutional networks take a third of the time, since the processor's cache
matters more than the batch, and slices on separate threads never wait for each other. Each form is compared with torch
float32 on a probe image before it is used, once for every image size; a form that disagrees is not used.

A network with `traceable = False` (its computation depends on its input) stays in torch and may take further arguments,
such as a region map; its 16-bit form is compared once, on a small image, for all sizes. A network's own `tolerance`
takes the place of TOLERANCE.
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

TOLERANCE = 0.03  # of the norm of the answer: AR2-UNet in bfloat16 is off by 0.01 on noise, a broken engine by 1
MAX_COMPILED_SIZES = 4  # image sizes for which the compiled network is kept
PROBE_PIXELS = 64  # pixels a side of the image on which a network that cannot be traced is compared
Forward = Callable[..., Tensor]


class Engine:
    """Maps (B, C, *size) on the CPU to the network's output, float32 on the CPU. For one thread at a time.

    Further arguments, tensors whose last axes lie on the image, are passed on to a network that is not `traceable`.

    `kind` is "auto", "torch" or "openvino". `folder`, if given, keeps the converted network for the next process.
    `name` and `precision` tell which form served the last call. Where several networks in one are called one by one,
    `get_submodule` gives an engine for each, as the module itself gives its parts.
    """

    def __init__(self, net: nn.Module, device: str = "cpu", kind: str = "auto", folder: Path | None = None):
        self.traceable = getattr(net, "traceable", True)
        self.tolerance = getattr(net, "tolerance", TOLERANCE)
        self.net = fuse_batchnorm(net.eval()).requires_grad_(False).to(device)
        self.device, self.kind, self.folder = device, kind, folder
        self.name, self.precision = "torch", "fp32"
        self.prepared: dict[tuple[tuple[int, ...], bool], tuple[Forward, str, str]] = {}
        self._model: Any = None
        self._parts: dict[str, Engine] = {}
        self._whole = self

    def get_submodule(self, name: str) -> "Engine":
        """Return the engine of one part of the network, made once; the whole takes over name and precision from it."""
        if name not in self._parts:
            folder = self.folder and self.folder.with_name(f"{self.folder.name}-{name}")
            part = Engine(self.net.get_submodule(name), self.device, self.kind, folder)
            part._whole = self
            self._parts[name] = part
        return self._parts[name]

    @torch.inference_mode()
    def __call__(self, x: Tensor, *more: Tensor) -> Tensor:
        """Return the network's output for (B, C, *size), prepared on the first call for each size."""
        x, size = x.float(), tuple(x.shape[1:])
        is_batch = len(x) > 1 or (size, True) in self.prepared
        if not self.traceable:
            size, is_batch = (size[0],), False
        if (size, is_batch) not in self.prepared:
            while len(self.prepared) >= MAX_COMPILED_SIZES:
                del self.prepared[next(iter(self.prepared))]
            self.prepared[size, is_batch] = self._choose_form(*self._make_probe(x, more), is_batch)
        forward, self.name, self.precision = self.prepared[size, is_batch]
        self._whole.name, self._whole.precision = self.name, self.precision
        return forward(x, *more)

    @torch.inference_mode()
    def predict_labels(self, x: Tensor) -> Tensor:
        """Return the network's `predict_labels` of (B, C, *size) on the CPU, in the 16-bit type if its output agrees.

        For networks in torch whose output at every voxel would take too much memory.
        """
        return self._call_in_torch(self.net.predict_labels, x).cpu()

    @torch.inference_mode()
    def forward_with_attention(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the network's output for (B, C, *size) and its attention weights, float32 on the CPU."""
        out, attention = self._call_in_torch(self.net.forward_with_attention, x)
        return out.float().cpu(), [weights.float().cpu() for weights in attention]

    def _call_in_torch(self, method: Callable[[Tensor], Any], x: Tensor) -> Any:
        """The answer of one of the network's methods, in the 16-bit type if the network's output on noise agrees."""
        x = x.float()
        key = ((x.shape[1],), False)
        if key not in self.prepared:
            corner = x[(..., *(slice(PROBE_PIXELS) for _ in x.shape[2:]))]
            self.prepared[key] = self._choose_form(make_probe_image((1, *corner.shape[1:])), (), False)
        _, self.name, self.precision = self.prepared[key]
        dtype = choose_half_precision(self.device) if self.precision != "fp32" else None
        with torch.autocast(torch.device(self.device).type, dtype, enabled=dtype is not None):
            return method(x.to(self.device))

    def _make_probe(self, x: Tensor, more: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A probe image of the size of `x`, small if it cannot be traced, and the part of `more` that lies on it."""
        if self.traceable:
            return make_probe_image((1, *x.shape[1:])), more
        sizes = [min(PROBE_PIXELS, n) for n in x.shape[2:]]
        corners = []
        for argument in more:
            lengths = zip(argument.shape[-len(sizes) :], x.shape[2:], sizes, strict=True)
            box = tuple(slice(round(n * small / whole)) for n, whole, small in lengths)
            corners.append(argument[(slice(1), ..., *box)])
        return make_probe_image((1, x.shape[1], *sizes)), tuple(corners)

    def _choose_form(self, probe: Tensor, more: tuple[Tensor, ...], is_batch: bool) -> tuple[Forward, str, str]:
        """The first form that agrees with torch float32 on the probe (1, C, *size), its name and precision."""
        plain = self.make_torch_form(None)
        with limit_to_one_thread():
            expected = plain(probe, *more)
        for forward, name, precision in self.list_forms(probe, is_batch):
            error = float((forward(probe, *more) - expected).norm() / expected.norm().clamp_min(1e-12))
            if error <= self.tolerance:
                return forward, name, precision
            log.warning("%s in %s is not used: it differs from torch by %.2g of the answer", name, precision, error)
        return plain, "torch", "fp32"

    def list_forms(self, probe: Tensor, is_batch: bool) -> Iterator[tuple[Forward, str, str]]:
        """Yield the forms worth trying, fastest first: a function, its name, its precision.

        `probe` is (1, C, *size); `is_batch` tells whether several such items come at once.
        """
        if self.traceable and self.device == "cpu" and self.kind != "torch" and find_spec("openvino"):
            try:
                yield from self._list_openvino_forms(probe, is_batch)
            except Exception as error:  # whatever is wrong with OpenVINO, torch can serve
                log.warning("OpenVINO cannot run this network: %s", error)
        dtype = choose_half_precision(self.device)
        if dtype:
            yield self.make_torch_form(dtype), "torch", {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]

    def make_torch_form(self, dtype: torch.dtype | None) -> Forward:
        """Return the network in torch as a function, under autocast to `dtype` unless it is None."""

        def forward(x: Tensor, *more: Tensor) -> Tensor:
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)
            x = x.to(self.device).contiguous(memory_format=layout)
            with torch.autocast(torch.device(self.device).type, dtype, enabled=dtype is not None):
                return self.net(x, *(argument.to(self.device) for argument in more)).float().cpu().contiguous()

        return forward

    def _list_openvino_forms(self, probe: Tensor, is_batch: bool) -> Iterator[tuple[Forward, str, str]]:
        """OpenVINO in the precision it prefers on this processor, then in float32."""
        openvino = import_openvino()
        core = openvino.Core()
        hint = "THROUGHPUT" if is_batch else "LATENCY"
        options = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": count_processors()}
        for model in self._list_models(core, probe):
            with suppress(RuntimeError):  # converted for another size, it may not fit this one
                model.reshape([1, *probe.shape[1:]])
                for precision_hint in ({}, {"INFERENCE_PRECISION_HINT": "f32"}):
                    compiled = core.compile_model(model, "CPU", options | precision_hint)
                    kind = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
                    precision = {"f32": "fp32", "f16": "fp16"}.get(kind, kind)
                    yield _run_in_streams(openvino.AsyncInferQueue(compiled)), "openvino", precision

    def _list_models(self, core: Any, probe: Tensor) -> Iterator[Any]:
        """The network converted to OpenVINO: the model in use, the one in the folder, and a new conversion."""
        openvino = import_openvino()
        if self._model is not None:
            yield self._model
        file = self.folder / "network.xml" if self.folder else None
        if file and file.is_file():
            with suppress(RuntimeError):  # a file that cannot be read is converted again
                self._model = core.read_model(file)
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
    """Import OpenVINO without its telemetry, which reports every import and every conversion to Google Analytics."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # so that it cannot be imported
    import openvino

    return openvino


def _run_in_streams(queue: Any) -> Forward:
    """A forward that gives every item of the batch to the next free stream of an AsyncInferQueue."""

    def forward(x: Tensor) -> Tensor:
        answers: list[Any] = [None] * len(x)
        queue.set_callback(lambda request, at: answers.__setitem__(at, torch.tensor(request.get_output_tensor(0).data)))
        for at, item in enumerate(x.numpy()):
            queue.start_async({0: item[None]}, at)
        queue.wait_all()
        return torch.cat(answers)

    return forward


def make_probe_image(shape: tuple[int, ...]) -> Tensor:
    """Return an image (B, C, *size) of blobs and grain, always the same, that excites a network at every scale."""
    generator = torch.Generator().manual_seed(0)
    blobs = torch.randn((*shape[:2], *(8 for _ in shape[2:])), generator=generator)
    grain = torch.randn(shape, generator=generator)
    return functional.interpolate(blobs, shape[2:]) + 0.3 * grain


def write_folder(write: Callable[[Path], None], folder: Path) -> None:
    """Let `write` fill `folder`, which appears whole or not at all; a disk that cannot be written is no error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            write(temporary)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        log.info("The converted network is not kept: %s", error)
