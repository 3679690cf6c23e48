"""Preprocessing of a brain pair, to be checked before the registration uses it."""

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from medapp.algorithms.input_checks import require_scan
from medapp.algorithms.pair_preparation import describe_inputs, doubt_pair, measure_correlation, prepare_brains
from medapp.analysis.mask_metrics import compute_dice
from medapp.card import Card, Input
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.scan_kinds import FLAIR, T1, T1_CONTRAST, T2
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK
from medapp.pipelines.segment_brain_unet import BRAIN_NETWORK
from medapp.result import Metric, Result

PAIR_INPUTS = (
    Input(
        "fixed",
        "Fixed image",
        "A T1, T2 or FLAIR brain scan, with or without the skull; results lie on its grid.",
        kinds=(T1, T1_CONTRAST, T2, FLAIR),
        check=require_scan,
    ),
    Input(
        "moving",
        "Moving image",
        "Such a scan of another brain or of another time, on any grid; its contrast may differ.",
        kinds=(T1, T1_CONTRAST, T2, FLAIR),
        check=require_scan,
    ),
    Input(
        "fixed_labels",
        "Fixed label map",
        "Labels numbered as in FreeSurfer aseg, OASIS-35 or Neuromorphometrics.",
        optional=True,
        labels=True,
    ),
    Input("moving_labels", "Moving label map", "In the same numberings; it is warped too.", optional=True, labels=True),
    Input(
        "fixed_lesion",
        "Lesion in the fixed image",
        "A mask, 1 in the lesion: nothing is matched there, and the field is filled from around.",
        optional=True,
        labels=True,
    ),
    Input("moving_lesion", "Lesion in the moving image", "The same for the moving image.", optional=True, labels=True),
)

PAIR_GROUPS = {
    "Label maps (optional)": ("fixed_labels", "moving_labels"),
    "Lesions (optional)": ("fixed_lesion", "moving_lesion"),
}


def prepare(
    _,
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    fixed_lesion: Volume | None = None,
    moving_lesion: Volume | None = None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
) -> Result:
    """Return both images skull-stripped, from 0 to 1, on one grid of 1 mm, their regions, and the affine between them.

    Raises InputError as `pair_preparation.prepare_brains` does.
    """
    fixed_map, moving_map, pair = prepare_brains(
        fixed,
        moving,
        fixed_labels,
        moving_labels,
        fixed_lesion,
        moving_lesion,
        get_network=get_network,
        progress=progress,
    )
    inside = pair.fixed.array > 0
    dice_scores = [
        compute_dice(pair.fixed_regions.array == n, pair.moving_regions.array == n)
        for n in range(1, len(CLASS_NAMES))
        if (pair.fixed_regions.array == n).any()
    ]
    left, stretch, right = np.linalg.svd(pair.affine[:3, :3])
    rotation_degrees = np.degrees(Rotation.from_matrix(left @ right * np.sign(np.linalg.det(left @ right))).magnitude())
    centre = pair.grid.to_mm((np.array(pair.grid.shape) - 1) / 2)
    shift = np.linalg.norm(pair.affine[:3, :3] @ centre + pair.affine[:3, 3] - centre)
    volumes = {
        "fixed_prepared": pair.fixed,
        "moving_prepared": pair.moving,
        "labels": fixed_map.own,
        "moving_labels": moving_map.own,
    }
    metrics = {
        "ncc_before": Metric(measure_correlation(pair.moving.array, pair.fixed.array, inside)),
        "dice_before": Metric(round(float(np.mean(dice_scores)), 4)),
        "turn": Metric(round(float(rotation_degrees), 1), "°"),
        "shift": Metric(round(float(shift), 1), "mm"),
        "growth": Metric(round(100 * float(np.prod(stretch) - 1), 1), "%"),
    }
    notes = tuple(dict.fromkeys(describe_inputs(fixed, moving, pair, fixed_map, moving_map)))
    doubts = doubt_pair(fixed, moving, pair, fixed_map, moving_map)
    return Result(
        volumes, affine=pair.affine, metrics=metrics, notes=notes, warnings=doubts.warnings, doubt=doubts.question
    )


CARD = Card(
    name="prepare_brain_pair",
    task="pair",
    presenter="brain_pair",
    title="Brain pair preprocessing",
    about="Skull-strips two heads, aligns them by an affine of 12 parameters, and shows the inputs of the "
    "registration.",
    inputs=PAIR_INPUTS,
    options=(),
    weights=ANATOMY_NETWORK.weights,
    build=None,
    run=prepare,
    networks={"anatomy": ANATOMY_NETWORK, "brain": BRAIN_NETWORK},
    option_groups=PAIR_GROUPS,
    licence="CC BY-NC 4.0 (the parcellation network, which finds the brain)",
    cite="Billot et al. 2023, doi:10.1016/j.media.2023.102789",
    trained_on="The brain is found by the network of segment_anatomy_unet; the alignment is computed, not learned.",
    scores="See segment_anatomy_unet for the brain. The affine finds turns of 30° and shifts of 30 mm; where the "
    "regions hardly overlap then, all 24 orientations are tried.",
    limits="T1, T2 and FLAIR of adults; brains with missing parts may be cropped or misaligned: check the preprocessed "
    "pair.",
)
