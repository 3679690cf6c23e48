"""Every study by name."""

from training.studies import Study, glioma, ms, restoration, stroke

STUDIES: dict[str, Study] = {
    "stroke-networks": stroke.NETWORKS,
    "stroke-losses": stroke.LOSSES_ALONE,
    "ms-attention": ms.ATTENTION,
    "glioma-gates": glioma.GATES,
    "restoration-regions": restoration.REGIONS,
}
