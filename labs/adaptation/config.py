"""The settings of the adaptation lab."""

from pydantic import Field, ValidationInfo, field_validator

from labs.core.config import Config


class AdaptationConfig(Config):
    edges: bool = True
    """Train on the photographs' Canny edges, which resemble line drawings, instead of their grey values."""
    canny_low: float = Field(170.0, ge=0)
    """Canny's low threshold, of |gx| + |gy|, the Sobel gradient of grey values 0 to 255; no effect without `edges`."""
    canny_high: float = Field(300.0, ge=0)
    """Canny's high threshold, in the same unit; no effect without `edges`."""
    width: int = Field(64, ge=4)
    """Channels of the first convolution; all later layers are proportional to it."""
    members: int = Field(1, ge=1)
    """Networks of the ensemble; their mean probabilities are the prediction."""
    adversarial: float = Field(0.0, ge=0)
    """Largest weight lambda of the domain classifier's reversed gradient; 0 for no domain classifier."""
    gamma: float = Field(10.0, ge=0)
    """Slope of the schedule by which lambda rises; 0 for a constant lambda. No effect with `adversarial=0`."""
    pseudo_fraction: float = Field(0.0, ge=0, le=1)
    """Fraction of the drawings that have a pseudo-label at the end of the training; 0 for no pseudo-labels."""
    pseudo_start: float = Field(0.3, ge=0, lt=1)
    """Fraction of the training before the first pseudo-labels; no effect with `pseudo_fraction=0`."""
    discrepancy_steps: int = Field(0, ge=0)
    """Steps of the feature extractor on each batch (the paper's n) in training by maximum classifier discrepancy; 0 for
    the training of the ladder. Above 0, `members`, `adversarial`, `gamma`, the pseudo-labels' fields and `ema_decay`
    have no effect."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay per step of the EMA weights, which predict the pseudo-labels and are delivered; 0 for the last weights."""
    rotation: float = Field(15.0, ge=0)
    """Largest rotation of training images in degrees; half of the images are mirrored as well."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of zoom, shift and random erasing of training images; 0 for none, as in the course's sample code."""
    lr: float = Field(1e-3, gt=0)
    """Adam's learning rate."""
    batch_size: int = Field(32, ge=2)
    """Photographs of a global batch, and as many drawings."""
    epochs: int = Field(200, ge=1)
    """Passes over the photographs."""
    plotted: int = Field(5000, ge=20)
    """Images of each domain, at most, in the report's t-SNE; 5,000 take minutes to draw."""

    @field_validator("canny_high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        if high < info.data.get("canny_low", 0.0):
            raise ValueError(f"{high:g} is below canny_low, {info.data['canny_low']:g}")
        return high
