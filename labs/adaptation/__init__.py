from labs.adaptation.lesson import LAB

__all__ = ["LAB"]
