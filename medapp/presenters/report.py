"""Report: a result as one HTML page that stands alone, and as a zip with its files and a legend."""

import logging
import zipfile
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np

from medapp.presenters import parcellation, registration, restoration, segmentation
from medapp.rendering import colour, html_page, lesion_charts, planes, svg
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import is_flat
from medapp.result import NOT_A_DIAGNOSIS, WHOLE, Provenance, Result, Table

log = logging.getLogger(__name__)
DERIVED = (  # what the method made; the other volumes were put in
    "mask", "probability", "restored", "regions",
    "probability_axial", "probability_coronal", "probability_sagittal", "template", "agreement", "variance", "entropy",
    "places", "change", "probability_baseline", "zones",
    "aligned", "warped", "aligned_labels", "warped_labels", "co_warped", "fixed_prepared", "moving_prepared",
)  # fmt: skip
FOUND = ("labels", "brain", "disagreement")  # also made by the method, where it finds regions
COMPARED = (
    "dice", "hd95", "volume_error", "reference_volume", "volume_difference", "lesion_f1",
    "psnr_before", "psnr", "ssim_before", "ssim", "rmse_before", "rmse", "bias", "data_range",
)  # fmt: skip
WORDS = {
    "volume": "Lesion volume",
    "lesions": "Lesions",
    "left_out": "Smaller ones left out",
    "threshold": "Probability threshold",
    "dice": "Dice (overlap, 1 is full)",
    "hd95": "Hausdorff distance, 95th percentile",
    "reference_volume": "Volume of the reference",
    "volume_difference": "Volume against the reference",
    "lesion_f1": "F1 over lesions (1 is all found, none too many)",
    "agreed": "Of what any plane sees, seen by all",
    "fit": "Correlation with the template",
    "new": "New lesions",
    "enlarging": "Enlarging lesions",
    "shrinking": "Shrinking lesions",
    "stable": "Stable lesions",
    "gone": "Lesions that are gone",
    "volume_before": "Lesion volume in the earlier scan",
    "regions": "Regions",
    "brain": "Brain",
    "cortex": "Cerebral cortex",
    "white_matter": "Cerebral white matter",
    "ventricles": "Ventricles",
    "cerebellum": "Cerebellum",
    "hippocampus_left": "Left hippocampus",
    "hippocampus_right": "Right hippocampus",
    "volume_error": "Volume against the reference (mean over the regions, without sign)",
    "psnr_before": "PSNR before",
    "psnr": "PSNR (peak signal to noise; higher is nearer)",
    "ssim_before": "SSIM before",
    "ssim": "SSIM (structural similarity, 1 is equal)",
    "rmse_before": "RMSE before",
    "rmse": "RMSE (root mean square error)",
    "bias": "Bias (mean of restored minus reference)",
    "data_range": "Data range that PSNR and SSIM refer to",
    "noise_before": "Noise before (standard deviation)",
    "noise": "Noise (standard deviation)",
    "ncc_before": "Correlation before",
    "ncc": "Correlation (normalised; 1 is the same picture)",
    "dice_before": "Dice before (mean over the regions)",
    "folding": "Folding (share of brain voxels, raw Jacobian determinant)",
    "sdlogj": "SDlogJ (spread of the log Jacobian determinant)",
    "sdlogj_learn2reg": "SDlogJ as Learn2Reg counts it",
    "bending_energy": "Bending energy (mean squared second derivatives)",
    "inverse_residual": "Inverse residual (there and back, mean)",
    "inverse_residual_max": "Inverse residual, largest",
    "displacement_mean": "Displacement, mean",
    "displacement_max": "Displacement, largest",
    "tre": "Error at the landmarks (TRE), mean",
    "tre_before": "Error at the landmarks before, mean",
    "tre_max": "Error at the landmarks, largest",
    "prompts_network": "Prompts A to B, the network's fields, mean",
    "prompts": "Prompts A to B, the result, mean",
    "boundary_jump": "Jump of the field between regions, mean",
}
FILES = {  # the end of a file's name, and what it is
    "mask.nii.gz": "the mask, 1 = lesion; NIfTI, in the space of the input image, voxel for voxel",
    "probability.nii.gz": "the probability of lesion, 0 to 1; NIfTI, in the space of the input image, voxel for voxel",
    "probability_axial.nii.gz": "the probability as the network of axial slices sees it",
    "probability_coronal.nii.gz": "the probability as the network of coronal slices sees it",
    "probability_sagittal.nii.gz": "the probability as the network of sagittal slices sees it",
    "agreement.nii.gz": "how many of the planes see lesion, 0 to 3",
    "variance.nii.gz": "the variance of the planes' probabilities, 0 to 0.25: where they disagree",
    "entropy.nii.gz": "the entropy of the fused probability in bits, 0 to 1",
    "places.nii.gz": "the lesions by place: 1 periventricular, 2 juxtacortical, 3 infratentorial, 4 deep white matter",
    "places.csv": "how many lesions lie where, by size, and their volume",
    "zones.nii.gz": "which place every voxel of the brain counts to, numbered as the lesions by place",
    "change.nii.gz": "lesions since the earlier scan: 1 new, 2 enlarging, 3 shrinking, 4 stable, 5 gone",
    "change.csv": "one row per lesion of either scan: its volume then and now, and what became of it",
    "probability_baseline.nii.gz": "the probability of lesion in the earlier scan, in the space of the input image",
    "attention_coronal.csv": "how much each coronal row of blocks draws on the others; rows sum to 1",
    "attention_sagittal.csv": "the same among the sagittal ones",
    "attention_axial.csv": "the same among the axial ones",
    "planes.csv": "every plane against the fusion, and against the reference, if there is one",
    "mask.seg.dcm": "the mask as a DICOM segmentation of the input series, same frame of reference",
    "lesions.csv": "one row per lesion; positions are RAS+ millimetres in the space of the input image",
    "restored.nii.gz": "the restored image, in the unit of the input image; NIfTI, in its space",
    "restored.png": "the restored picture, without loss",
    "regions.nii.gz": "the regions, a whole number each; NIfTI, in the space of the restored image, voxel for voxel",
    "restored_dicom": "the restored image as a DICOM series of the input's study, same frame of reference",
    "regions.csv": "one row per region",
    "warped.nii.gz": "the moving image on the fixed image's grid, by displacement and affine",
    "displacement.nii.gz": "the displacement as ITK's field (LPS mm) on the fixed grid; then comes affine.tfm",
    "inverse_displacement.nii.gz": "the displacement from the moving side back, ITK's field; first invert affine.tfm",
    "affine.tfm": "the affine as ITK's transform, fixed to moving points; it follows the displacement",
    "disp_learn2reg.npz": "the whole deformation, affine too, in Learn2Reg's form (voxels, half resolution)",
    "labels.nii.gz": "the regions, a whole number each; NIfTI, in the space of the image that they were found in",
    "labels.label": "number, colour and name of each region, as ITK-SNAP reads them",
    "labels.seg.dcm": "the regions as a DICOM segmentation of the input series, same frame of reference",
    "brain.nii.gz": "the brain, 1 = brain, without holes; NIfTI, in the space of the input image, voxel for voxel",
    "brain.seg.dcm": "the brain as a DICOM segmentation of the input series, same frame of reference",
    "warped_labels.nii.gz": "the moving image's regions on the fixed image's grid",
    "co_warped.nii.gz": "what was brought along, on the fixed image's grid",
    "landmarks.csv": "one row per landmark: its error before and after",
    "result.json": "settings, figures, notes and provenance, for programs",
    "report.html": "this result as a page to read and print; needs no network",
}


def html(result: Result, title: str, about: Mapping[str, str] | None = None, *, radiological: bool = True) -> str:
    """The page: `title` is the method's; `about` what else is to be said of it, for example its licence and its limits.

    Draws what the result's task shows: of a segmentation "image", with "mask" and "reference" where there are. Holds no
    link and loads nothing.
    """
    comparison = [name for name in result.metrics if name in COMPARED and _task(result) is not registration]
    figures = [name for name in result.metrics if name not in comparison]
    return html_page.render_page(
        title,
        [
            f'<p class="notice" role="note">{escape(NOT_A_DIAGNOSIS)}</p>',
            f"<h1>{escape(title)}</h1>",
            html_page.render_warning(result.warnings),
            html_page.render_section("Figures of the result", _metrics(result, figures)),
            html_page.render_section("Comparison with the reference", _metrics(result, comparison)),
            html_page.render_section("Notes", html_page.render_list(result.notes) if result.notes else ""),
            html_page.render_section("Pictures", _pictures(result, radiological)),
            *(html_page.render_section(name.capitalize(), _table(table)) for name, table in result.tables.items()),
            html_page.render_section("What was put in", _inputs(result)),
            html_page.render_section("Settings", html_page.render_pairs(result.settings.items())),
            html_page.render_section("Method", html_page.render_pairs((about or {}).items())),
            html_page.render_section(
                "Provenance", html_page.render_pairs(_origin(result.provenance)) if result.provenance else ""
            ),
        ],
    )


def bundle(
    result: Result, path: Path, title: str, about: Mapping[str, str] | None = None, *, radiological: bool = True
) -> Path:
    """Write the zip `path`: what `Result.save` writes, the report and a README; names begin with the method's.

    What cannot be written or drawn is left out, and said in the report, the README and `result.json`.
    """
    method = result.provenance.pipeline if result.provenance and result.provenance.pipeline else "medapp"
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="medapp-") as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        names = []
        told, files = result.save_and_note(Path(folder), _task(result).FILES)
        for file in files:
            names.append(f"{method}_{file.name}")
            for part in sorted(file.iterdir()) if file.is_dir() else [file]:
                inside = f"{names[-1]}/{part.name}" if file.is_dir() else names[-1]
                archive.write(part, inside, zipfile.ZIP_STORED if part.suffix in (".gz", ".png") else None)
        missing = told.notes[len(result.notes) :]
        try:
            page = html(told, title, about, radiological=radiological)
        except Exception as error:  # the files are worth more than their report
            log.warning("the report was not drawn: %s", type(error).__name__)
            missing += (f"report.html could not be drawn: this is a fault of ours. {WHOLE}",)
        else:
            names.append(f"{method}_report.html")
            archive.writestr(names[-1], page)
        archive.writestr("README.txt", legend(title, method, names, missing))
    return path


def lost(bundle: Path) -> list[str]:
    """What a bundle's README says of files that could not be made."""
    with zipfile.ZipFile(bundle) as archive:
        lines = archive.read("README.txt").decode().splitlines()
    return [line for line in lines if line.endswith(WHOLE)]


def legend(title: str, method: str, names: Iterable[str], missing: Iterable[str] = ()) -> str:
    """The README of a bundle: which file is what, and in which space; `missing` says which are not there, and why."""
    lines = [f"{title} ({method})", NOT_A_DIAGNOSIS, "", "Files"]
    lines += [f"  {name}: {FILES.get(name.removeprefix(method + '_'), 'a table of the result')}" for name in names]
    lines += [*missing, ""]
    lines += ["The space of the input image is that of its own voxels and of its own position in the scanner:"]
    lines += ["open a NIfTI file of this folder over the image that was put in, and they lie on each other.", ""]
    return "\n".join(lines)


def _metrics(result: Result, names: Iterable[str]) -> str:
    said = {
        name: "not defined" if m.value is None else f"{m.value} {m.unit}".rstrip() for name, m in result.metrics.items()
    }
    return html_page.render_pairs((WORDS.get(name, name), said[name]) for name in names)


def _table(table: Table) -> str:
    empty = lesion_charts.NO_LESION if "lesion" in table.columns else "None"
    return html_page.render_table(table.columns, table.rows, table.about, empty=empty, kind="numbers")


def _inputs(result: Result) -> str:
    columns = ("Role", "Image", "Voxels", "Voxel size (mm)", "Axes", "Unit")
    derived = (*DERIVED, *FOUND) if _task(result) is parcellation else DERIVED
    rows = []
    for role, volume in result.volumes.items():
        if role not in derived:
            size, spacing = " × ".join(map(str, volume.shape)), " × ".join(f"{s:.3g}" for s in volume.spacing)
            rows.append((role, volume.name, size, spacing, volume.axis_codes, volume.unit or "arbitrary"))
    about = "Axes: where each voxel axis points, R or L, A (front) or P, S (head) or I."
    return html_page.render_table(columns, rows, about, empty="No image", kind="inputs")


def _origin(origin: Provenance) -> list[tuple[str, object]]:
    pairs = [("Pipeline", origin.pipeline), *((f"Weights, {name}", value) for name, value in origin.weights.items())]
    pairs += [("Device", origin.device), ("Engine", origin.engine), ("Precision", origin.precision)]
    pairs += [("Time", f"{origin.seconds:.1f} s" if origin.seconds else "")]
    pairs += [("Peak memory", f"{origin.peak_memory_mb:.0f} MB" if origin.peak_memory_mb else "")]
    pairs += [(f"Version of {name}", version) for name, version in origin.versions.items()]
    return [(name, value) for name, value in pairs if value]


def _task(result: Result) -> ModuleType:
    if "warped" in result.volumes:
        return registration
    if "restored" in result.volumes:
        return restoration
    return parcellation if "labels" in result.volumes else segmentation


def _pictures(result: Result, radiological: bool) -> str:
    if (task := _task(result)) is not segmentation:
        return "\n".join(html_page.render_picture(p, said, said) for p, said in task.pictures(result, radiological))
    image, mask, reference = result.volumes["image"], result.volumes.get("mask"), result.volumes.get("reference")
    lesion = mask if mask is not None and mask.array.any() else None
    flat = is_flat(image.grid)
    window = None if image.is_colour else colour.find_window(image.array, image.unit)
    layers, keys = [Layer(image, window=window)], []
    if reference is not None:
        layers.append(Layer(reference, "mask", colour=colour.get_label_colour(2), contour=1))
        keys.append((colour.to_css(colour.get_label_colour(2)), "Reference"))
    if mask is not None:
        layers.append(Layer(mask, "mask", contour=2))
        keys.insert(0, (colour.to_css(colour.get_label_colour(1)), "Result"))

    where = "" if flat else f"Axial, coronal and sagittal through the {'largest lesion' if lesion else 'middle'}. "
    side = f"The patient's right is on the {'left' if radiological else 'right'} of the picture. "
    grey = f"Black is {window.low:.4g}, white {window.high:.4g} {image.unit}".rstrip() + "." if window else ""
    mm = planes.find_best_position(lesion or image.new_like(np.zeros(image.shape, np.uint8)))
    pixels = planes.draw_three_planes(layers, mm, height=420, radiological=radiological)
    out = [
        html_page.render_picture(
            pixels, f"The image with the outline of the result. {where}", where + side + grey, keys
        )
    ]
    if lesion and not flat:
        pixels = planes.draw_montage([layers[0], layers[-1], *layers[1:-1]], 12, radiological=radiological)
        about = "Axial slices through the lesions, from foot to head."
        out.append(html_page.render_picture(pixels, about, about))
        at, ml, across = lesion_charts.measure_slice_volumes(lesion)
        other = None if reference is None else lesion_charts.measure_slice_volumes(reference)[1]
        about = "Lesion volume in each slice of the scan"
        out.append(
            html_page.render_svg(
                svg.draw_bars(at, ml, across, "Volume (ml)", title=about, reference=other), about + "."
            )
        )
    return "\n".join(out)
