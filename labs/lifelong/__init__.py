from labs.lifelong.lesson import LAB

__all__ = ["LAB"]
