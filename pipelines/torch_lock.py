"""One computation with torch at a time in the driver's process.

Random generators and the number of threads belong to the process. Two computations at once would take random numbers
from each other, and neither would be reproducible.
"""

import threading

TORCH_LOCK = threading.Lock()
"""Held while a bare run trains, while a sweep's best trial is scored, and while a model is loaded to be logged."""
