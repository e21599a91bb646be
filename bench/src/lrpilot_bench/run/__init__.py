"""Running what is wanted: one job to its record, the workers, the resuming runner and its progress."""
