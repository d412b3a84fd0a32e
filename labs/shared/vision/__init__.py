"""Pictures: drawing, augmentation, residual blocks."""
