"""DICOM in and out: series, derived series and segmentations."""
