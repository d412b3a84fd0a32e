"""Where it is run: Ray clusters, what they can hold, and jobs on them. Knows no lab."""
