from labs.attack.lesson import LAB

__all__ = ["LAB"]
