"""MLflow: its one writer, what is written, and the served model."""
