"""The name of a preview and of its file; imports nothing heavy, so that commands may know it."""

PREVIEW = "preview"
"""A look at the scores before `prep`; a worker does it like a stage, but no stage follows it."""

PREVIEW_FILE = "preview.json"
"""A `pipeline.mining.preview.Preview` as JSON."""
