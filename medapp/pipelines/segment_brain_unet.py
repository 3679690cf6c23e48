"""The brain in MRI of a head, by two 3-D U-Nets: one finds it in the whole image, the other refines its border."""

import numpy as np

from medapp.algorithms.brain_extraction import extract_brain
from medapp.algorithms.input_checks import require_head
from medapp.algorithms.scan_plausibility import Doubts, find_cut_ends
from medapp.analysis.brain_mask import measure_brain
from medapp.card import Card, Input, Network, Weights
from medapp.imaging.background import strip_skull, zero_background
from medapp.imaging.scan_kinds import SEQUENCES
from medapp.imaging.volume import Volume
from medapp.networks.coarse_to_fine import CoarseToFine
from medapp.result import Result

PLAUSIBLE_ML = (700, 2200)  # of a brain with its CSF, from a child of one year on
MAX_LEFT_OUT_ML = 20.0  # from which something else that looks like brain is reported
THICK_VOXEL_MM = 3.0  # mm, from which the outline between slices is noted


def segment(net, image: Volume, *, progress) -> Result:
    """Return the mask `brain` on the grid of `image`, the image within it (`stripped`), and its volume.

    `net` is as in `brain_extraction.extract_brain`. Raises InputError for colour, CT, PET, an empty image or a few
    slices.
    """
    require_head(image)
    brain, left_out_ml = extract_brain(net, zero_background(image), progress=progress)
    progress(0.95, "Measuring")
    brain = image.new_like(brain.array, labels=brain.labels, name=brain.name, unit="", remarks=())
    volumes = {"image": image, "brain": brain, "stripped": strip_skull(image, brain)}
    doubts = doubt_mask(brain, left_out_ml)
    return measure_brain(Result(volumes, notes=describe_input(image), warnings=doubts.warnings, doubt=doubts.question))


def doubt_mask(brain: Volume, left_out_ml: float) -> Doubts:
    """Look for reasons to doubt a mask, beside which `left_out_ml` looked like brain."""
    ml = np.count_nonzero(brain.array) * brain.grid.voxel_ml
    if not ml:
        return Doubts(
            "Not an MRI of a head?",
            ("No brain was found. Check that this is an MRI of a head, and the voxel size in its header.",),
        )
    warnings, question = [], ""
    low, high = PLAUSIBLE_ML
    ends = find_cut_ends(brain)
    if ends:
        warnings.append(
            f"The image ends within the brain, at the {' and the '.join(ends)}: the volume is that of the part in view."
        )
    if ml > high or (ml < low and not ends):
        question = "Not a whole head?"
        warnings.append(
            f"The mask measures {ml:.0f} ml; a brain with its CSF has {low} to {high} ml. Check the outline, and the "
            "voxel size in the header."
        )
    if left_out_ml > MAX_LEFT_OUT_ML:
        warnings.append(f"Another {left_out_ml:.0f} ml looked like brain, apart from it, and were left out.")
    return Doubts(question, tuple(warnings))


def describe_input(image: Volume) -> tuple[str, ...]:
    """List what the user should know of this input before trusting the result."""
    notes = list(image.remarks)
    if max(image.spacing) > THICK_VOXEL_MM:
        notes.append(f"Voxels are {max(image.spacing):.1f} mm long: the outline is as coarse in that direction.")
    return tuple(dict.fromkeys(notes))


BRAIN_NETWORK = Network(
    Weights(
        "segment_brain_unet.safetensors",
        "medapp/segment_brain_unet",
        "v0.1.0",
        "81e7f76768d17c00945298550e9f61329b92a3cdcb51fb630192d12665e1d2c6",
    ),
    CoarseToFine,
)

CARD = Card(
    name="segment_brain_unet",
    task="segmentation",
    presenter="brain_mask",
    title="Brain extraction (3-D U-Net)",
    is_companion=True,
    about="Outlines the brain, CSF included, on MRI of the head, removes skull, face and neck, and measures it.",
    inputs=(
        Input(
            "image",
            "Brain MRI",
            "T1, T2, FLAIR or PD, with the skull or without, slices of up to 8 mm.",
            kinds=SEQUENCES,
            check=require_head,
        ),
    ),
    options=(),
    weights=BRAIN_NETWORK.weights,
    build=BRAIN_NETWORK.build,
    run=segment,
    licence="CC BY-NC 4.0 (images and labels of the training data; see NOTICE)",
    cite="Hoopes et al. 2022, doi:10.1016/j.neuroimage.2022.119474; Ronneberger et al. 2015, arXiv:1505.04597",
    trained_on="Synthetic scans only, each drawn anew: 18 T1 scans of 13 people of OASIS-1 and one whole head "
    "(Colin27), deformed, given random contrasts, and put into synthetic heads or an average one, with necks, fat "
    "bright or dark, bias field, noise, slices of up to 8 mm and a cut field of view.",
    scores="Four people of another source (MASS 1.1), whole heads, two with the neck in view: Dice 0.955 ± 0.008, "
    "89 ml too much in the mean and 140 at most. Synthetic heads of 4 held-out people: 0.94 to 0.96 with a neck, thick "
    "slices or a cut field of view; 0.97 without the skull.",
    limits="Brains that were operated on, large tumours, bleeding and infants were not trained on. The mask includes "
    "the CSF of sulci and ventricles: it is larger than the brain's tissue. Meninges and venous sinuses may "
    "be included in places: check the outline before measuring.",
)
