"""Modality: the kind of scanner an image comes from, by its DICOM headers, its unit or its values."""

from medapp.imaging.hounsfield import is_hounsfield
from medapp.imaging.volume import Volume

MODALITY_NAMES = {"CT": "CT", "MR": "MR", "PT": "PET"}  # from DICOM's


def detect_modality(volume: Volume) -> str:
    """Return "CT", "MR" or "PET", or "" if neither headers, unit nor values tell."""
    if volume.headers and (name := MODALITY_NAMES.get(str(volume.headers[0].get("Modality", "")))):
        return name
    if volume.unit in ("HU", "Bq/ml"):
        return "CT" if volume.unit == "HU" else "PET"
    return "CT" if not volume.is_colour and is_hounsfield(volume.array) else ""
