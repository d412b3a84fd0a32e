from labs.gan.lesson import LAB

__all__ = ["LAB"]
