"""Colours and layout of the wizard, as data."""
