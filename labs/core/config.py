"""The base class of every lab's settings."""

from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from labs.core.errors import shown


class Config(BaseModel):
    """Base of every lab's settings: frozen, no unknown field, no infinite number, which JSON can't hold; the sentence
    under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _yes_and_no_are_no_numbers(cls, values: Any) -> Any:
        """Pydantic takes `true` for 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field and bool not in (field.annotation, *get_args(field.annotation)):
                expected = getattr(field.annotation, "__name__", str(field.annotation))
                raise ValueError(f"field {name!r} is {str(value).lower()}: expected {expected}")
        return values

    @model_validator(mode="after")
    def _whole_numbers_have_64_bits(self) -> Self:
        for name, value in self:
            for number in value if isinstance(value, list | tuple) else (value,):
                if isinstance(number, int) and abs(number) >= 2**63:
                    raise ValueError(f"field {name!r} is {shown(number)}: a whole number must be below 2**63")
        return self
