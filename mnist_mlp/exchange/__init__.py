"""In from other programs and out to them: weights, models, pictures."""
