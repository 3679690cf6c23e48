"""Agreement of raters: masks of one image by several people and methods, compared in pairs, and their consensus.

The raters are the result's own mask, its reference, and the masks of further raters. A mask that was corrected by hand
counts once where raters are counted, as corrected; in the table of pairs the automatic one stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, count

import numpy as np

from medapp.analysis import mask_metrics
from medapp.analysis.hand_correction import AUTOMATIC
from medapp.analysis.staple import find_consensus
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Result, Table

MAX_RATERS = 8  # besides the result and its reference
RATER_ROLES = tuple(f"rater_{number + 1}" for number in range(MAX_RATERS))  # of `Result.volumes`
AGREEMENT, CONSENSUS = "rater_agreement", "consensus"
PAIRS, PERFORMANCE = "raters", "rater_performance"  # tables
BOTH = "both"  # the first label of the agreement of two
NOTE_BEGINNING = "Raters: "
PAIR_COLUMNS = (
    "first", "second", "Dice", "HD95 (mm)", "volume of first (ml)", "volume of second (ml)", "difference (ml)",
    "difference (%)",
)  # fmt: skip
LESION_PAIR_COLUMNS = (
    "lesions of first", "matched of first", "lesions of second", "matched of second", "lesion-wise F1",
)  # fmt: skip
PERFORMANCE_COLUMNS = ("rater", "sensitivity", "specificity", "volume (ml)", "Dice to the consensus")
PAIR_HELP = (
    "Two masks a row. Dice is 1 where both are empty. HD95: 95th percentile of surface distances, weighted by area; "
    "none where one mask is empty. Difference: first minus second, in % of the second."
)
LESION_PAIR_HELP = (
    f" A lesion, a connected component at connectivity {mask_metrics.CONNECTIVITY}, is matched if it shares a voxel "
    "with the other mask."
)
PERFORMANCE_HELP = (
    "STAPLE (Warfield et al. 2004, doi:10.1109/TMI.2004.828354) of {count} raters over the whole image: the consensus "
    "is probability at or above 0.5. It takes raters for independent of each other."
)


def place_raters(result: Result, raters: Sequence[Volume], like: Volume) -> Result:
    """Return the result with the masks of `raters` on the grid of `like`, instead of those that it had.

    What is above 0 is inside; on another grid it is taken to that of `like` by nearest voxel. A name that is taken gets
    a number. Raises InputError for more than MAX_RATERS.
    """
    if len(raters) > MAX_RATERS:
        raise InputError(f"Compare at most {MAX_RATERS} raters' masks at a time; {len(raters)} were given.")
    volumes = {role: volume for role, volume in result.volumes.items() if role not in RATER_ROLES}
    names: list[str] = ["Automatic", "Corrected", "Reference"]
    for role, rater in zip(RATER_ROLES, raters, strict=False):
        marked = rater.new_like((rater.array > 0).astype(np.uint8), labels={1: rater.name})
        numbered = (f"{rater.name} ({number})" for number in count(2))
        name = rater.name if rater.name not in names else next(each for each in numbered if each not in names)
        names.append(name)
        placed = resample(marked, like.grid)
        volumes[role] = like.new_like(
            placed.array, labels={1: name}, name=name, unit="", remarks=rater.remarks, headers=(), sequence=""
        )
    return replace(result, volumes=volumes)


def list_raters(volumes: Mapping[str, Volume]) -> list[Volume]:
    """Return the masks of the further raters among a result's volumes."""
    return [volumes[role] for role in RATER_ROLES if role in volumes]


def measure_raters(result: Result, mask_role: str, *, has_lesions: bool = True) -> Result:
    """Return the result with all that follows from the masks of further raters, and nothing of it where there are none.

    `mask_role` is that of the result's mask. Adds the volumes `rater_agreement`, how many raters mark a voxel, or of
    two, which, and of three or more `consensus`; the tables `raters`, of pairs, with matched lesions if it
    `has_lesions`, and `rater_performance`; and notes.
    """
    volumes = {role: volume for role, volume in result.volumes.items() if role not in (AGREEMENT, CONSENSUS)}
    tables = {name: table for name, table in result.tables.items() if name not in (PAIRS, PERFORMANCE)}
    notes = tuple(note for note in result.notes if not note.startswith(NOTE_BEGINNING))
    result = replace(result, volumes=volumes, tables=tables, notes=notes)
    raters = list_raters(volumes)
    if not raters:
        return result
    own = volumes[mask_role]
    masks = {"Corrected" if result.is_corrected else "Automatic": own.array > 0}
    if "reference" in volumes:
        masks["Reference"] = volumes["reference"].array > 0
    masks |= {rater.name: rater.array > 0 for rater in raters}
    return add_comparison(
        result, masks, own, also={"Automatic": volumes[AUTOMATIC].array > 0} if AUTOMATIC in volumes else {},
        has_lesions=has_lesions,
    )  # fmt: skip


def add_comparison(
    result: Result,
    masks: Mapping[str, np.ndarray],
    like: Volume,
    *,
    also: Mapping[str, np.ndarray] | None = None,
    has_lesions: bool = True,
) -> Result:
    """Return the result with the comparison of masks, by rater, (I, J, K) bool on the grid of `like`.

    See `measure_raters`; `also` are masks that only stand in the table of pairs.
    """
    volumes, tables = dict(result.volumes), dict(result.tables)
    volumes[AGREEMENT] = make_agreement(masks, like)
    pairs = [compare_pair(*pair, like.grid, has_lesions) for pair in combinations({**masks, **(also or {})}.items(), 2)]
    columns: tuple[str, ...] = PAIR_COLUMNS
    about = PAIR_HELP
    if has_lesions:
        columns, about = columns + LESION_PAIR_COLUMNS, about + LESION_PAIR_HELP
    tables[PAIRS] = Table(columns, tuple(pairs), about)
    consensus = find_consensus(list(masks.values()))
    if consensus is not None:
        volumes[CONSENSUS] = like.new_like(
            consensus.mask.astype(np.uint8), labels={1: "consensus"}, name=CONSENSUS, unit="", remarks=()
        )
        rated = zip(masks.items(), consensus.sensitivities, consensus.specificities, strict=True)
        rows = [
            (
                name,
                round(sensitivity, 4),
                round(specificity, 6),
                _measure_ml(mask, like.grid),
                round(mask_metrics.compute_dice(mask, consensus.mask), 4),
            )
            for (name, mask), sensitivity, specificity in rated
        ]
        tables[PERFORMANCE] = Table(PERFORMANCE_COLUMNS, tuple(rows), PERFORMANCE_HELP.format(count=len(masks)))
    metrics = {**result.metrics, "raters": Metric(len(masks))}
    if CONSENSUS in volumes:
        metrics["consensus_volume"] = Metric(_measure_ml(volumes[CONSENSUS].array, like.grid), "ml")
    notes = [f"{NOTE_BEGINNING}{sentence}" for sentence in describe_masks(result, masks)]
    return replace(result, volumes=volumes, tables=tables, metrics=metrics, notes=(*result.notes, *notes))


def make_agreement(masks: Mapping[str, np.ndarray], like: Volume) -> Volume:
    """Return how many of the masks (I, J, K) bool mark each voxel; of two: 1 both, 2 the first alone, 3 the second."""
    if len(masks) == 2:
        (first, one), (second, other) = masks.items()
        array = np.where(one & other, 1, np.where(one, 2, np.where(other, 3, 0)))
        labels = {1: BOTH, 2: f"only {first}", 3: f"only {second}"}
    else:
        array = np.sum(list(masks.values()), axis=0)
        labels = {number: f"{number} of {len(masks)}" for number in range(1, len(masks) + 1)}
    return like.new_like(
        array.astype(np.uint8), labels=labels, name=AGREEMENT, unit="", remarks=(), headers=(), sequence=""
    )


def compare_pair(first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], grid: Grid, has_lesions: bool) -> tuple:
    """Return the row of PAIR_COLUMNS of two named masks (I, J, K) bool, and of LESION_PAIR_COLUMNS if it has them."""
    (name, one), (other_name, other) = first, second
    box = mask_metrics.find_bounding_box(one | other)
    one, other = one[box], other[box]
    ml, other_ml = _measure_ml(one, grid), _measure_ml(other, grid)
    hd95 = mask_metrics.compute_hd95(one, other, grid)
    row = (
        name,
        other_name,
        round(mask_metrics.compute_dice(one, other), 4),
        None if hd95 is None else round(hd95, 2),
        ml,
        other_ml,
        round(ml - other_ml, 3),
        round(100 * (ml - other_ml) / other_ml, 1) if other_ml else None,
    )
    if not has_lesions:
        return row
    matches = mask_metrics.match_lesions(one, other)
    return (*row, *matches, round(matches.f1, 4))


def describe_masks(result: Result, masks: Mapping[str, np.ndarray]) -> list[str]:
    """Return sentences on what is unusual about masks (I, J, K) bool, and what their readers have remarked."""
    sentences = [f"{rater.name}: {remark}" for rater in list_raters(result.volumes) for remark in rater.remarks]
    empty = [name for name, mask in masks.items() if not mask.any()]
    if len(empty) == len(masks):
        return [*sentences, "none of the masks marks anything, so that there is no consensus."]
    sentences += [f"{name} marks nothing." for name in empty]
    marked = {name: mask for name, mask in masks.items() if name not in empty}
    same = [f"{a} and {b}" for (a, one), (b, other) in combinations(marked.items(), 2) if np.array_equal(one, other)]
    if same:
        sentences.append(f"the same voxels are marked by {'; '.join(same)}.")
    return sentences


def describe_agreement(result: Result) -> str:
    """Return a part of a headline: the Dice among raters; "" where there are none."""
    table = result.tables.get(PAIRS)
    if table is None:
        return ""
    further = {rater.name for rater in list_raters(result.volumes)}
    scores = [row[2] for row in table.rows if further & {row[0], row[1]}]
    if len(scores) == 1:
        name = next(name for name in table.rows[0][:2] if name in further)
        return f"; Dice {scores[0]:.2f} to {name}"
    raters = result.metrics["raters"].value
    return f"; Dice {min(scores):.2f} to {max(scores):.2f} among {raters} raters"


def _measure_ml(mask: np.ndarray, grid: Grid) -> float:
    return round(float(np.count_nonzero(mask)) * grid.voxel_ml, 3)
