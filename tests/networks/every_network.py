"""Asks every network of the app, its trainings and comparators in small, forward and backward; names each it begins.

To be run as a process of its own, whose memory is watched: `test_memory.py` does.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from medapp.algorithms import affine_registration, deformable_refinement
from medapp.hardware import choose_half_precision
from medapp.imaging.volume import Volume
from medapp.networks.mobilesam import build_mobilesam
from medapp.networks.raxnet import RAXNet
from medapp.networks.sam_decoder import decode_masks
from medapp.networks.textscf import TextSCF
from medapp.pipelines import segment_ms_rsanet, segment_stroke_raxnet
from medapp.serving import runtime
from medapp.serving.inference_engine import Engine, make_probe_image
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.studies.catalogue import STUDIES

SLICE = (144, 160)  # pixels, as a training's: the smaller an image, the fewer kernels there are to choose from
PATCH = (64, 80)
CUBE = (32, 32, 32)  # voxels, of which two are left along each axis at the deepest level
REGIONS = torch.randint(0, 4, (1, *PATCH), generator=torch.Generator().manual_seed(0))
SHARE = 1 / 8  # of their full widths, for candidates in a study

GIVEN: dict[str, tuple[Tensor, ...]] = {  # to the network of each card that builds one
    "segment_stroke_raxnet": (make_probe_image((2, segment_stroke_raxnet.INPUT_CHANNELS, *SLICE)),),
    "segment_ms_rsanet": (make_probe_image((1, segment_ms_rsanet.INPUT_CHANNELS, *CUBE)),),
    "segment_glioma_ar2unet": (make_probe_image((1, 3, *PATCH)),),
    "segment_anatomy_unet": (make_probe_image((1, 1, *CUBE)),),
    "segment_brain_unet": (make_probe_image((1, 1, *CUBE)), 10 * make_probe_image((1, 1, *CUBE))),
    "restore_ct_rat": (make_probe_image((1, 1, *PATCH)), REGIONS),
    "restore_pet_rat": (make_probe_image((1, 6, *PATCH)), REGIONS),
    "restore_pathology_rat": (make_probe_image((1, 3, *PATCH)), REGIONS),
}


def run_all_forms(net: nn.Module, *given: Tensor) -> None:
    """Forward in the forms in which the engine may serve it, and forward and backward as a training does."""
    layout = torch.channels_last_3d if given[0].ndim == 5 else torch.channels_last
    with autocast("cpu"):
        net.train().to(memory_format=layout)(given[0].contiguous(memory_format=layout), *given[1:]).sum().backward()
    ready = Engine(net, "cpu")
    with torch.inference_mode():
        fastest = [forward for forward, *_ in islice(ready.list_forms(given[0], is_batch=False), 1)]
        for forward in (ready.make_torch_form(None), ready.make_torch_form(choose_half_precision("cpu")), *fastest):
            forward(*given)


def list_served() -> Iterator[tuple[str, Callable[[], object]]]:
    """Networks as the app serves them; of planes that are built alike, the first; the smallest that may be trained."""
    for card in runtime.import_cards():
        if card.build:
            net = card.build()
            net = next(iter(net.values())) if isinstance(net, nn.ModuleDict) else net
            yield card.name, partial(run_all_forms, net, *GIVEN[card.name])
    narrow = RAXNet(1, [4, 8, 16, 32], segment_stroke_raxnet.INPUT_CHANNELS)
    yield "segment_stroke_raxnet, narrow", partial(run_all_forms, narrow, *GIVEN["segment_stroke_raxnet"])
    yield "register_brain_textscf", register_brains
    yield "find_regions_sam", prompt_for_masks


def register_brains() -> None:
    """A field from two brains: aligned, bent by the network, refined; the network follows its gradients, too."""
    moving, fixed = make_probe_image((2, 1, *CUBE)).sigmoid()
    values = (Volume((100 * image[0]).numpy(), np.diag([4.0, 4, 4, 1])) for image in (moving, fixed))
    affine_registration.register_affine(*values)
    net, labels = TextSCF(8, 64, 256, diffeomorphic=True), torch.full((1, *CUBE), 5)
    for kind in (None, choose_half_precision("cpu")):
        with torch.autocast("cpu", kind, enabled=kind is not None), torch.inference_mode():
            net(moving[None], fixed[None], labels)
    with autocast("cpu"):
        feature = net.extract_features(moving[None], fixed[None])
    net.flow(feature.float(), labels[:, ::2, ::2, ::2], net.make_filters()).sum().backward()
    deformable_refinement.refine_field(moving[0], fixed[0], regions=(labels[0], labels[0]))


@torch.inference_mode()
def prompt_for_masks() -> None:
    """Masks from points in a picture."""
    net = build_mobilesam()
    features = net.image_encoder(make_probe_image((1, 3, 1024, 1024)))
    for kind in {torch.float32, choose_half_precision("cpu") or torch.float32}:
        decode_masks(net, features, torch.rand(4, 2) * 1000, -1e9, kind)


def list_compared() -> Iterator[tuple[str, Callable[[], object]]]:
    """Rivals of every study, a step of each as in a comparison."""
    for study in STUDIES.values():
        batch = study.make_phantom().draw(RandomSource(0))
        for name, candidate in study.candidates.items():

            def step(candidate=candidate, batch=batch) -> None:
                net = candidate.build(SHARE)
                with autocast("cpu"):
                    candidate.loss(net, batch).backward()

            yield f"{study.title}: {name}", step


if __name__ == "__main__":
    torch.manual_seed(0)
    for name, ask in (*list_served(), *list_compared()):
        print(name, flush=True)
        ask()
    print("all well")
