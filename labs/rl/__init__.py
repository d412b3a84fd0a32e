"""What the reinforcement-learning lab takes from RLlib, and the games it plays outside of it."""
