"""One module for each data format of the course: `make`, `check` and `prepare`."""
