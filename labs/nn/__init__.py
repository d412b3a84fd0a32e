"""Networks that are too long for a lesson, or that several labs share."""
