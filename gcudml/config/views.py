"""Parameters of the random views."""

from __future__ import annotations

from pydantic import Field, model_validator

from gcudml.config.strict import Fraction, Strict


class Views(Strict):
    """Random changes of a training image; every image of a batch draws its own."""

    crop_scale: tuple[Fraction, Fraction] = (0.6, 1.0)
    """Area of the crop as a share of the image, smallest and largest; a side that ``aspect`` would
    make longer than the image is cut to it, which makes the area smaller."""
    aspect: float = Field(default=1.2, ge=1.0, le=4.0)
    """Largest ratio of the crop's sides."""
    rotate_deg: float = Field(default=10.0, ge=0.0, le=180.0)
    flip: Fraction = 0.0
    """Probability of a left-right flip. Keep 0 for characters."""
    brightness: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Most that is added to or taken from all pixels of an image, which are from -1 to 1."""
    contrast: float = Field(default=0.2, ge=0.0, lt=1.0)
    """0.2 multiplies the pixels by 0.8 to 1.2, around the grey of 0. Unlike torchvision's jitter
    both act on a black background too; 0 and 0 leave light as it is."""

    @model_validator(mode="after")
    def _check_scale(self) -> Views:
        low, high = self.crop_scale
        if not 0.0 < low <= high:
            raise ValueError(f"crop_scale: needs 0 < smallest <= largest, got {low} and {high}")
        return self
