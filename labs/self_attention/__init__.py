from labs.self_attention.lesson import LAB

__all__ = ["LAB"]
