"""Two heads made ready to be registered, alone: to be looked at before the registration uses them."""

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from medapp.algorithms.pair_preparation import describe_inputs, doubt_pair, measure_correlation, prepare_brains
from medapp.analysis.mask_metrics import compute_dice
from medapp.card import Card, Input
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK
from medapp.result import Metric, Result

PAIR_INPUTS = (
    Input("fixed", "Fixed image", "T1 of a brain, as it comes from the scanner; its grid is the result's."),
    Input("moving", "Moving image", "T1 of another brain, or of another time; any grid."),
    Input(
        "fixed_labels",
        "Fixed image's labels",
        "FreeSurfer aseg, OASIS-35 or Neuromorphometrics.",
        optional=True,
        labels=True,
    ),
    Input("moving_labels", "Moving image's labels", "Likewise; they are warped too.", optional=True, labels=True),
)

LABEL_MAP_GROUP = {"Label maps, if you have them": ("fixed_labels", "moving_labels")}


def prepare(
    _,
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
) -> Result:
    """Both images on one grid of 1 mm, without skull, from 0 to 1, their regions, and the affine between them.

    Raises InputError as `_brains.brains` does.
    """
    here, there, pair = prepare_brains(
        fixed, moving, fixed_labels, moving_labels, get_network=get_network, progress=progress
    )
    inside = pair.fixed.array > 0
    shared = [
        compute_dice(pair.fixed_regions.array == n, pair.moving_regions.array == n)
        for n in range(1, len(CLASS_NAMES))
        if (pair.fixed_regions.array == n).any()
    ]
    left, stretch, right = np.linalg.svd(pair.affine[:3, :3])
    turn = np.degrees(Rotation.from_matrix(left @ right * np.sign(np.linalg.det(left @ right))).magnitude())
    middle = pair.grid.to_mm((np.array(pair.grid.shape) - 1) / 2)
    shift = np.linalg.norm(pair.affine[:3, :3] @ middle + pair.affine[:3, 3] - middle)
    volumes = {
        "fixed_prepared": pair.fixed,
        "moving_prepared": pair.moving,
        "labels": here.own,
        "moving_labels": there.own,
    }
    metrics = {
        "ncc_before": Metric(measure_correlation(pair.moving.array, pair.fixed.array, inside)),
        "dice_before": Metric(round(float(np.mean(shared)), 4)),
        "turn": Metric(round(float(turn), 1), "°"),
        "shift": Metric(round(float(shift), 1), "mm"),
        "growth": Metric(round(100 * float(np.prod(stretch) - 1), 1), "%"),
    }
    notes = tuple(dict.fromkeys(describe_inputs(fixed, moving, here, there)))
    doubts = doubt_pair(fixed, moving, pair, here, there)
    return Result(
        volumes, affine=pair.affine, metrics=metrics, notes=notes, warnings=doubts.warnings, doubt=doubts.question
    )


CARD = Card(
    name="prepare_brain_pair",
    task="pair",
    presenter="brain_pair",
    title="A pair of brains made ready",
    about="Takes the skull off two heads, aligns them with twelve parameters, and shows what a registration sees.",
    inputs=PAIR_INPUTS,
    options=(),
    weights=ANATOMY_NETWORK.weights,
    build=None,
    run=prepare,
    networks={"anatomy": ANATOMY_NETWORK},
    option_groups=LABEL_MAP_GROUP,
    licence="CC BY-NC 4.0 (the parcellation, which finds the brain)",
    cite="Billot et al. 2023, doi:10.1016/j.media.2023.102789",
    trained_on="The brain is found by the network of segment_anatomy_unet; the alignment is computed, not learned.",
    scores="See segment_anatomy_unet for the brain. The affine finds turns of 30° and shifts of 30 mm.",
    limits="T1 of adults; brains with parts missing may be cut or laid wrongly: look at the pair.",
)
