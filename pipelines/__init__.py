"""How it is run: Ray Train, RLlib, MLflow, the graph of nodes, the command line."""
