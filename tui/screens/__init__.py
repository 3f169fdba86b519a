"""One module a step, and the dialogs."""
