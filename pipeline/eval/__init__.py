"""Model to metrics, rankings and misses."""
