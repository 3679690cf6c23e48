"""All studies by name."""

from training.studies import Study, glioma, ms, restoration, stroke

STUDIES: dict[str, Study] = {
    "stroke-networks": stroke.NETWORKS,
    "stroke-losses": stroke.LOSS_FUNCTIONS,
    "ms-attention": ms.ATTENTION,
    "glioma-gates": glioma.GATES,
    "restoration-regions": restoration.REGIONS,
}
