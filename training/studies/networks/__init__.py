"""Networks of other authors, written from their papers, for `training.studies.compare`."""
