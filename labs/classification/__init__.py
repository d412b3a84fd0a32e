from labs.classification.lesson import LAB

__all__ = ["LAB"]
