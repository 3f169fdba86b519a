"""Passages to samples: questions with answers, evidence, scores and flags."""
