from labs.regression.lesson import LAB

__all__ = ["LAB"]
