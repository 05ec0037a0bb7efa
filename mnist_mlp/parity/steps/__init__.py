"""Compare a training step, or a whole run, with exact arithmetic in float64."""
