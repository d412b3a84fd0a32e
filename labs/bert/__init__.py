from labs.bert.lesson import LAB

__all__ = ["LAB"]
