"""Artifact to service, and the check that the service answers like the model."""
