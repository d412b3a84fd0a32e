from labs.meta.lesson import LAB

__all__ = ["LAB"]
