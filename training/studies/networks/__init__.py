"""Networks by others, written from their papers, to be trained beside ours by `training.studies.compare`."""
