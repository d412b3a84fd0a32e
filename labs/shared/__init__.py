"""Parts that several labs use, by field."""
