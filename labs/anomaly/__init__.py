from labs.anomaly.lesson import LAB

__all__ = ["LAB"]
