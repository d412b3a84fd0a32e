"""What this program costs, beside a reference measured in the same run; `make bench` runs it, no test does."""
