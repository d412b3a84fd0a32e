"""Images: the Food-11 format, generated images, augmentation, residual networks."""
