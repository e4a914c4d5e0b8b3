"""What looks at images in tiles besides the model that guesses hidden cells."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly.arrays import Float32, Float64
from anomaly.backends.backend import Backend
from anomaly.backends.defects import DefectModel, log_odds
from anomaly.texture import Texture, roughness


@dataclass(frozen=True)
class Inspection:
    """Two looks that learn from whole images.

    Attributes:
        defects: Learned on defects that are drawn into normal images.
        texture: What the roughness of cells is expected to be.
    """

    defects: DefectModel
    texture: Texture

    def of(self, image: Float32, backend: Backend) -> tuple[Float64, Float64, Float64]:
        """Log odds of a defect, surprise of the texture and mean roughness of one image (height,
        width, channels); see `anomaly.maps.TileLook`."""
        surprise, fields = self.texture.surprise(image), roughness(image)[0]
        return log_odds(self.defects, backend, image), surprise, fields.mean((0, 1))
