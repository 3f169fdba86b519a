"""`check`: the gate and the preflight, with each verdict and its remedy."""
