"""Brain regions and their volumes from one MR image, by a 3-D U-Net that sees the whole head at once."""

from collections.abc import Callable
from functools import partial

from medapp.algorithms.head_orientation import find_regions
from medapp.algorithms.input_checks import require_scan
from medapp.algorithms.parcellation import Parcellation, find_swapped_sides
from medapp.algorithms.scan_plausibility import doubt_scan, find_cut_ends
from medapp.analysis.regional_volumes import measure_regions, translate_reference
from medapp.card import Card, Input, Network, Weights
from medapp.imaging.background import zero_background
from medapp.imaging.scan_kinds import SEQUENCES
from medapp.imaging.volume import Volume
from medapp.networks.unet3d import UNet3D
from medapp.pipelines.segment_brain_unet import BRAIN_NETWORK
from medapp.result import Result

THICK_VOXEL_MM = 3.0  # mm, coarser than most of the training data


def segment(net, image: Volume, *, progress, get_network: Callable | None = None) -> Result:
    """Return the regions (`labels`) and the `brain` mask on the grid of `image`, with their volumes.

    `net` is as in `parcellation.parcellate`; what the network "brain" does not take for brain has no region. Raises
    InputError for colour, CT, PET or an empty image.
    """
    require_scan(image)
    oriented = find_regions(net, image, brain_net=get_network and get_network("brain"), progress=progress)
    progress(0.95, "Measuring")
    labels, brain = oriented.regions
    volumes = {"image": image, "labels": labels, "brain": brain}
    doubts = doubt_scan(zero_background(image), labels, cut=bool(find_cut_ends(brain)))
    warnings = (*oriented.warnings(image.name), *doubts.warnings)
    if not oriented.rotation_text and (swapped := find_swapped_sides(labels)):
        warnings += (f"Left and right are swapped in {', '.join(swapped)}: check the orientation in the header.",)
    notes = describe_input(image, oriented.regions)
    return measure_regions(Result(volumes, notes=notes, warnings=warnings, doubt=doubts.question))


def describe_input(image: Volume, parcellation: Parcellation) -> tuple[str, ...]:
    """List what the user should know of this input before trusting the result."""
    notes = list(image.remarks)
    ends = find_cut_ends(parcellation.brain)
    if ends:
        notes.append(f"The image ends within the brain, at the {' and the '.join(ends)}: volumes there are too small.")
    if max(image.spacing) > THICK_VOXEL_MM:
        notes.append(
            f"Voxels are {max(image.spacing):.1f} mm long: small regions and the cortex are coarse, their "
            "volumes uncertain."
        )
    return tuple(dict.fromkeys(notes))


ANATOMY_NETWORK = Network(
    Weights(
        "segment_anatomy_unet.safetensors",
        "medapp/segment_anatomy_unet",
        "v0.1.0",
        "3415fb1b9fb164e91863c595782ed7811fcfc45f55ffa94057f8df6381cacccd",
    ),
    partial(UNet3D, 36, 32),
)

CARD = Card(
    name="segment_anatomy_unet",
    task="segmentation",
    presenter="parcellation",
    title="Brain regions (3-D U-Net)",
    is_companion=True,
    about="Segments the regions of the brain, left and right, on MRI with or without the skull, and measures them.",
    inputs=(
        Input(
            "image",
            "Brain MRI",
            "Preferably T1 of about 1 mm; other contrasts and thick slices are possible.",
            kinds=SEQUENCES,
            check=require_scan,
        ),
    ),
    options=(),
    weights=ANATOMY_NETWORK.weights,
    build=ANATOMY_NETWORK.build,
    run=segment,
    networks={"brain": BRAIN_NETWORK},
    reference=translate_reference,
    licence="CC BY-NC 4.0 (images and labels of the training data)",
    cite="Ronneberger et al. 2015, arXiv:1505.04597; Billot et al. 2023, doi:10.1016/j.media.2023.102789",
    trained_on="18 T1 scans of 13 people of OASIS-1, labels by Neuromorphometrics (MICCAI 2012), in their own "
    "contrast and in synthetic ones, FLAIR with lesions among them, within synthetic skulls or an average head, with "
    "bias field, noise and thick slices. The labels have no choroid plexus: it counts towards the lateral ventricles.",
    scores="4 held-out people, no skull: Dice 0.80 over 33 regions, 0.85 without vessels, of which it finds none; "
    "0.79 and 0.84 within a synthetic head, 0.77 and 0.81 with slices of 4 mm; 0.75 and 0.79 on synthetic FLAIR of 5 "
    "mm.",
    limits="Trained on few adults from one scanner: no children, stronger atrophy, tumours, bleeding or operated "
    "brains. Contrasts other than T1 were only synthetic, and no real skull of one person was seen: check the outline "
    "of the brain before trusting a volume.",
)
