"""What all trainings share: runs, options, losses, statistics and reports."""
