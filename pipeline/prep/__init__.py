"""Kept samples to training file, mined hard negatives and BEIR files."""
