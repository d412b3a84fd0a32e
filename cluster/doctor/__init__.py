"""What `labs doctor` looks at: this machine, and every node of a cluster. Each fault comes with its remedy."""
