"""The metrics that results hold and the files that they are written to, each under one name everywhere.

The page, the report, the command line, the cards and the scores of evaluations take their words from here.
"""

from collections.abc import Iterable
from typing import NamedTuple


class MetricDefinition(NamedTuple):
    """What a metric is: `key` in `Result.metrics`, the title that users read, a short form, its unit, how to read it.

    `against_reference` if it compares a result with a reference and is unknown without one.
    """

    key: str
    title: str
    short: str = ""
    unit: str = ""
    help: str = ""
    against_reference: bool = False


class Output(NamedTuple):
    """A file of a result: `role` is the volume's in `Result.volumes`, or the table's or transform's name."""

    role: str
    title: str
    file: str
    description: str


METRICS = (
    MetricDefinition("volume", "Lesion volume", "Volume", "ml"),
    MetricDefinition("lesions", "Lesions", help="Connected components of the mask"),
    MetricDefinition("left_out", "Lesions left out", "Left out", help="Smaller than the smallest lesion that counts"),
    MetricDefinition("candidates", "Candidates", help="What was found is all smaller than that"),
    MetricDefinition("threshold", "Probability threshold", "Threshold", help="From which a voxel counts as lesion"),
    MetricDefinition("automatic_volume", "Automatic volume", "Automatic", "ml", "Before the correction by hand"),
    MetricDefinition("hand_added", "Added by hand", unit="ml"),
    MetricDefinition("hand_removed", "Removed by hand", unit="ml"),
    MetricDefinition("raters", "Raters", help="Masks that are compared, the result's own included"),
    MetricDefinition("consensus_volume", "Consensus volume", "Consensus", "ml", "What the raters agree on, by STAPLE"),
    MetricDefinition("dice", "Dice", help="Overlap; 1 is full, 0 is none", against_reference=True),
    MetricDefinition(
        "hd95", "HD95", unit="mm", help="95th percentile of surface distances, weighted by area", against_reference=True
    ),
    MetricDefinition("reference_volume", "Reference volume", unit="ml", against_reference=True),
    MetricDefinition(
        "volume_difference", "Volume difference", unit="%", help="Result minus reference", against_reference=True
    ),
    MetricDefinition("excess", "Excess volume", unit="ml", help="In the result alone", against_reference=True),
    MetricDefinition("missed", "Missed volume", unit="ml", help="In the reference alone", against_reference=True),
    MetricDefinition(
        "lesion_f1", "Lesion-wise F1", "F1", help="1: all lesions found, none too many", against_reference=True
    ),
    MetricDefinition("agreed", "Marked by all networks", unit="%", help="Of the voxels that any network marks"),
    MetricDefinition("fit", "Correlation with template", "Template fit", help="After alignment; 1 is the same image"),
    MetricDefinition("new", "New lesions", "New"),
    MetricDefinition("enlarging", "Enlarging lesions", "Enlarging"),
    MetricDefinition("shrinking", "Shrinking lesions", "Shrinking"),
    MetricDefinition("stable", "Stable lesions", "Stable"),
    MetricDefinition("gone", "Disappeared lesions", "Disappeared"),
    MetricDefinition("volume_before", "Earlier lesion volume", "Earlier volume", "ml"),
    MetricDefinition("regions", "Regions"),
    MetricDefinition("brain", "Brain volume", "Brain", "ml"),
    MetricDefinition("cortex", "Cerebral cortex", unit="ml"),
    MetricDefinition("white_matter", "Cerebral white matter", unit="ml"),
    MetricDefinition("ventricles", "Ventricles", unit="ml"),
    MetricDefinition("cerebellum", "Cerebellum", unit="ml"),
    MetricDefinition("hippocampus_left", "Left hippocampus", unit="ml"),
    MetricDefinition("hippocampus_right", "Right hippocampus", unit="ml"),
    MetricDefinition(
        "volume_error",
        "Volume error",
        unit="%",
        help="Mean absolute difference of volume over the regions",
        against_reference=True,
    ),
    MetricDefinition(
        "psnr", "PSNR", unit="dB", help="Peak signal-to-noise ratio; higher is better", against_reference=True
    ),
    MetricDefinition("ssim", "SSIM", help="Structural similarity; 1 is equal", against_reference=True),
    MetricDefinition("rmse", "RMSE", help="Root mean square error; lower is better", against_reference=True),
    MetricDefinition("bias", "Bias", help="Mean of result minus reference; 0 is best", against_reference=True),
    MetricDefinition("data_range", "Data range", help="The range that PSNR and SSIM refer to", against_reference=True),
    MetricDefinition("noise", "Noise", help="Standard deviation in even tissue"),
    MetricDefinition("ncc", "Correlation", "NCC", help="Normalized, within the brain; 1 is the same image"),
    MetricDefinition("folding", "Folding", unit="%", help="Brain voxels whose Jacobian determinant is 0 or less"),
    MetricDefinition("sdlogj", "SDlogJ", help="Spread of the log Jacobian determinant; lower is smoother"),
    MetricDefinition("sdlogj_learn2reg", "SDlogJ (Learn2Reg)", help="As Learn2Reg computes it, for its tables"),
    MetricDefinition("bending_energy", "Bending energy", unit="1/mm²", help="Mean squared second derivatives"),
    MetricDefinition(
        "inverse_residual", "Inverse-consistency error", unit="mm", help="Mean distance of a point there and back"
    ),
    MetricDefinition("inverse_residual_max", "Inverse-consistency error, maximum", unit="mm"),
    MetricDefinition("displacement_mean", "Displacement, mean", unit="mm", help="After the affine transform"),
    MetricDefinition("displacement_max", "Displacement, maximum", unit="mm"),
    MetricDefinition("tre", "Target registration error, mean", "TRE", "mm", "Distance of corresponding landmarks"),
    MetricDefinition("tre_max", "Target registration error, maximum", "TRE, maximum", "mm"),
    MetricDefinition(
        "prompts_network", "Prompts A to B, network", unit="mm", help="Mean distance between the two network fields"
    ),
    MetricDefinition(
        "prompts", "Prompts A to B, result", unit="mm", help="The same after refinement, which reads no prompts"
    ),
    MetricDefinition(
        "boundary_jump", "Jump between regions", unit="mm", help="Mean; 0 where the field is smooth across regions"
    ),
    MetricDefinition("turn", "Rotation", unit="°", help="Of the moving brain against the fixed one"),
    MetricDefinition("shift", "Translation", unit="mm", help="Of the moving brain against the fixed one"),
    MetricDefinition("growth", "Volume change", unit="%", help="Of the moving brain by the affine transform"),
)
BEFORE = "_before"  # ends the key of a metric's value before the method has run
_METRICS = {metric.key: metric for metric in METRICS}

OUTPUTS = (
    Output("mask", "Lesion", "mask.nii.gz", "the mask, 1 = lesion, on the grid of the input image"),
    Output("automatic_mask", "Automatic", "automatic_mask.nii.gz", "the mask before it was corrected by hand"),
    Output(
        "correction",
        "Correction",
        "correction.nii.gz",
        "what was decided by hand: 1 painted, 2 erased; 0 is as the method has it",
    ),
    Output(
        "rater_agreement",
        "Raters",
        "rater_agreement.nii.gz",
        "how many of the raters mark a voxel; of two: 1 both, 2 the first alone, 3 the second alone",
    ),
    Output("consensus", "Consensus", "consensus.nii.gz", "what three or more raters agree on, by STAPLE"),
    Output(
        "probability",
        "Probability",
        "probability.nii.gz",
        "the probability of lesion, 0 to 1, on the grid of the input",
    ),
    Output("probability_axial", "Probability, axial", "probability_axial.nii.gz", "the axial network's probability"),
    Output(
        "probability_coronal", "Probability, coronal", "probability_coronal.nii.gz", "the coronal network's probability"
    ),
    Output(
        "probability_sagittal",
        "Probability, sagittal",
        "probability_sagittal.nii.gz",
        "the sagittal network's probability",
    ),
    Output("agreement", "Agreement", "agreement.nii.gz", "how many of the planes mark lesion, 0 to 3"),
    Output(
        "variance", "Disagreement (variance)", "variance.nii.gz", "the variance of the planes' probabilities, 0 to 0.25"
    ),
    Output("entropy", "Entropy", "entropy.nii.gz", "the entropy of the fused probability in bits, 0 to 1"),
    Output(
        "places",
        "Lesions by place",
        "places.nii.gz",
        "the lesions by place: 1 periventricular, 2 juxtacortical, 3 infratentorial, 4 deep white matter",
    ),
    Output("zones", "Zones", "zones.nii.gz", "the place that each voxel of the brain belongs to, numbered as places"),
    Output(
        "change",
        "Change",
        "change.nii.gz",
        "lesions since the earlier scan: 1 new, 2 enlarging, 3 shrinking, 4 stable, 5 disappeared",
    ),
    Output(
        "probability_baseline",
        "Earlier probability",
        "probability_baseline.nii.gz",
        "the probability of lesion in the earlier scan, on the grid of the input image",
    ),
    Output("restored", "Restored", "restored.nii.gz", "the restored image, in the unit and on the grid of the input"),
    Output("restored", "Restored", "restored.png", "the restored picture, lossless"),
    Output("restored", "Restored", "restored_dicom", "the restored image as a DICOM series of the input's study"),
    Output("regions", "Regions", "regions.nii.gz", "the regions, an integer each, on the grid of the image"),
    Output("labels", "Regions", "labels.nii.gz", "the label map, an integer for each region, on the grid of its image"),
    Output("labels", "Regions", "labels.label", "number, colour and name of each region, for ITK-SNAP"),
    Output("brain", "Brain", "brain.nii.gz", "the brain mask, 1 = brain, without holes, on the grid of the input"),
    Output(
        "stripped",
        "Skull-stripped",
        "stripped.nii.gz",
        "the image within the brain mask, on its own grid; outside is 0, or its minimum if less",
    ),
    Output(
        "stripped",
        "Skull-stripped",
        "stripped_dicom",
        "the skull-stripped image as a DICOM series of its study",
    ),
    Output("warped", "Moving, warped", "warped.nii.gz", "the moving image on the grid of the fixed image"),
    Output(
        "warped_labels", "Warped regions", "warped_labels.nii.gz", "the moving label map on the grid of the fixed image"
    ),
    Output("ignored", "Not matched", "ignored.nii.gz", "1 where the images were not matched, on the fixed grid"),
    Output("co_warped", "Co-warped image", "co_warped.nii.gz", "the co-warped image on the grid of the fixed image"),
    Output("fixed_prepared", "Fixed, prepared", "fixed_prepared.nii.gz", "the fixed brain as the network sees it"),
    Output(
        "moving_prepared", "Moving, prepared", "moving_prepared.nii.gz", "the moving brain after the affine transform"
    ),
    Output("moving_labels", "Moving regions", "moving_labels.nii.gz", "the moving image's label map"),
    Output(
        "displacement",
        "Displacement field",
        "displacement.nii.gz",
        "ITK displacement field (LPS mm) on the fixed grid; affine.tfm follows it",
    ),
    Output(
        "inverse_displacement",
        "Inverse displacement field",
        "inverse_displacement.nii.gz",
        "ITK displacement field of the way back; the inverse of affine.tfm comes first",
    ),
    Output(
        "affine", "Affine transform", "affine.tfm", "ITK transform from fixed to moving points, after the displacement"
    ),
    Output(
        "disp_learn2reg",
        "Learn2Reg field",
        "disp_learn2reg.npz",
        "the whole deformation, affine included, as Learn2Reg stores it (voxels, half resolution)",
    ),
    Output("raters", "Raters", "raters.csv", "one row per pair of masks: Dice, HD95, volumes, matched lesions"),
    Output(
        "rater_performance",
        "Raters and consensus",
        "rater_performance.csv",
        "one row per rater: sensitivity and specificity to the consensus",
    ),
    Output("lesions", "Lesions", "lesions.csv", "one row per lesion; positions are RAS+ mm in the space of the input"),
    Output("places", "Lesions by place", "places.csv", "number and volume of the lesions by place and size"),
    Output("change", "Change", "change.csv", "one row per lesion of either scan: volumes then and now, and its change"),
    Output(
        "planes", "Planes", "planes.csv", "each plane against the fusion, and against the reference if there is one"
    ),
    Output(
        "attention_axial", "Attention, axial", "attention_axial.csv", "the attention among axial blocks; rows sum to 1"
    ),
    Output("attention_coronal", "Attention, coronal", "attention_coronal.csv", "the attention among coronal blocks"),
    Output(
        "attention_sagittal", "Attention, sagittal", "attention_sagittal.csv", "the attention among sagittal blocks"
    ),
    Output("regions", "Regions", "regions.csv", "one row per region"),
    Output("landmarks", "Landmarks", "landmarks.csv", "one row per landmark: its error before and after"),
    Output("words", "Words", "words.csv", "one row per region: what the words under What matters were taken for"),
    Output("similarity", "Similarity", "similarity.csv", "the regions nearest to the words of each changed prompt"),
    Output("prompts", "Prompts", "prompts.csv", "one row per region: how far the two sets of prompts move it apart"),
    Output("result", "Result", "result.json", "settings, metrics, notes and provenance, for programs"),
    Output("report", "Report", "report.html", "the result as a page to read and print, without a network"),
)
DICOM_SEG = ".seg.dcm"  # ends the name of a label map as a DICOM segmentation


def get_metric(key: str) -> MetricDefinition:
    """The metric of that key; "dice_before" is that of "dice" before the method has run."""
    if key in _METRICS:
        return _METRICS[key]
    metric = _METRICS.get(key.removesuffix(BEFORE))
    if metric is not None and key.endswith(BEFORE):
        short = f"{metric.short}, before" if metric.short else ""
        return metric._replace(key=key, title=f"{metric.title}, before", short=short)
    return MetricDefinition(key, key.replace("_", " ").capitalize())


def get_title(key: str) -> str:
    """What users read of a metric, for example "Lesion volume"."""
    return get_metric(key).title


def describe_file(name: str) -> str:
    """What is in a file of a result, by its name without the method's; a general sentence if it is not listed."""
    for output in OUTPUTS:
        if output.file == name:
            return output.description
    for output in OUTPUTS:
        if name == output.role + DICOM_SEG:
            return f"{output.description}; as a DICOM segmentation of the input series"
    return "a table of the result" if name.endswith(".csv") else "a volume of the result"


def get_layer_title(role: str) -> str:
    """What the layer of a volume is called on the page."""
    return next(output.title for output in OUTPUTS if output.role == role)


def split_metrics(keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """The keys of the result's own metrics, and of those that compare it with a reference."""
    own: list[str] = []
    against: list[str] = []
    for key in keys:
        (against if get_metric(key).against_reference else own).append(key)
    return own, against
