from labs.explain.lesson import LAB

__all__ = ["LAB"]
