"""Training file to model."""
