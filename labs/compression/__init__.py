from labs.compression.lesson import LAB

__all__ = ["LAB"]
