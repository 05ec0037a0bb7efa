"""Import weights and pictures, and export models for other programs."""
