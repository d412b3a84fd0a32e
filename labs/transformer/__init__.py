from labs.transformer.lesson import LAB

__all__ = ["LAB"]
