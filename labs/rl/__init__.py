from labs.rl.lesson import LAB

__all__ = ["LAB"]
