"""Sweeps: the search space, trials on disk, Ray Tune, reports."""
