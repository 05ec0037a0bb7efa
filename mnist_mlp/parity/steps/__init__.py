"""One training step, or one run, against exact arithmetic in float64."""
