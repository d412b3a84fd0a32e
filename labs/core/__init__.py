"""The contract between a lab and what runs it, and what every lab stands on."""
