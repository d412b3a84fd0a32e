"""Which random faults are injected: one seed of each kind in `make test`, ten in `make faults`."""

import os

FAULT_SEEDS = range(int(os.environ.get("FAULT_SEEDS", "1")))
