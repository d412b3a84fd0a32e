"""Measures that labs share, or that are too long for a lesson."""
