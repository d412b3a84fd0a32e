from labs.cnn.lesson import LAB

__all__ = ["LAB"]
