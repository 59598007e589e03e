"""Scripts: flags to a Config to a run."""
