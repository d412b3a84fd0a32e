"""What people look at: progress, tables, comparisons, curves."""
