"""The base class of every lab's settings."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every lab's settings: frozen, no unknown field, no infinite number, which JSON can't hold; the sentence
    under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
