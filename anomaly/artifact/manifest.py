"""What `manifest.json` says, as types; unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from anomaly.calibration import Rule
from anomaly.data.schema import STRICT, Cycle, Schema
from anomaly.detector import Card
from anomaly.models.defects import DefectNetwork
from anomaly.models.ops import BLOCK_MULTIPLE
from anomaly.models.vae import VAE
from anomaly.preprocessing.images import ImagePreprocessor
from anomaly.preprocessing.preprocessor import NumericInputs, NumericTarget
from anomaly.scores import Score

FORMAT_VERSION: Literal[5] = 5

UNSEALED = "0" * 64
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Plain = str | float | bool | None


@dataclass(frozen=True, config=STRICT)
class NumericEntry:
    """A number; its constants stand in the tensors, at this position."""

    name: str
    kind: Literal["numeric"] = "numeric"


@dataclass(frozen=True, config=STRICT)
class BooleanEntry:
    name: str
    kind: Literal["boolean"] = "boolean"


@dataclass(frozen=True, config=STRICT)
class CategoricalEntry:
    name: str
    categories: tuple[str, ...]
    kind: Literal["categorical"] = "categorical"


@dataclass(frozen=True, config=STRICT)
class CyclicEntry:
    name: str
    cycle: Cycle
    kind: Literal["cyclic"] = "cyclic"


Entry = Annotated[
    NumericEntry | BooleanEntry | CategoricalEntry | CyclicEntry, Field(discriminator="kind")
]


@dataclass(frozen=True, config=STRICT)
class EncoderEntry:
    """A table encoder without its numbers."""

    encodings: tuple[Entry, ...]
    numeric_inputs: NumericInputs
    numeric_target: NumericTarget
    with_mask: tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class ConstantEntry:
    name: str
    value: str | float | None


@dataclass(frozen=True, config=STRICT)
class PreprocessorEntry:
    """The preprocessor without its numbers."""

    features: EncoderEntry
    context: EncoderEntry
    constants: tuple[ConstantEntry, ...]


@dataclass(frozen=True, config=STRICT)
class CalibrationEntry:
    """The calibration without its scores."""

    alpha: Annotated[float, Field(gt=0, lt=1)]
    rule: Rule
    tolerance: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class GoldenRows:
    """Rows made from quantiles, never copied, and the scores they had when the model was saved.

    Attributes:
        columns: For each required column its values, as JSON has them.
        scores: (N,).
    """

    columns: dict[str, list[Plain]]
    scores: list[float]


@dataclass(frozen=True, config=STRICT)
class TableEntry:
    """What only a detector of tables has, without its numbers."""

    schema: Schema
    preprocessor: PreprocessorEntry
    baseline_columns: tuple[str, ...]
    baseline_rest: float
    golden: GoldenRows
    kind: Literal["table"] = "table"


@dataclass(frozen=True, config=STRICT)
class ImageEntry:
    """What only a detector of images has, without its numbers.

    Attributes:
        golden_scores: Of made images (`anomaly.artifact.images`), when the model was saved.
    """

    preprocessor: ImagePreprocessor
    defects: DefectNetwork | None
    golden_scores: tuple[float, ...]
    kind: Literal["image"] = "image"


@dataclass(frozen=True, config=STRICT)
class FileEntry:
    """One other file of the artifact."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class Manifest:
    """Everything but tensors.

    Attributes:
        sha256: Of the file's own text, with `UNSEALED` in this place; it comes first.
        of: What the detector looks at.
    """

    sha256: Sha256
    format_version: Literal[5]
    of: Annotated[TableEntry | ImageEntry, Field(discriminator="kind")]
    vae: VAE
    score: Annotated[Score, Field(discriminator="kind")]
    members: Annotated[int, Field(ge=1, le=64)]
    block_rows: Annotated[int, Field(ge=BLOCK_MULTIPLE, le=65_536, multiple_of=BLOCK_MULTIPLE)]
    fill_rest: float
    calibration: CalibrationEntry
    card: Card
    files: dict[str, FileEntry]

    def to_plain(self) -> Any:
        """As dictionaries and lists, as JSON has them."""
        return _ADAPTER.dump_python(self, mode="json")

    @staticmethod
    def from_json(text: bytes) -> Manifest:
        """Parse and check.

        Raises:
            pydantic.ValidationError: not JSON, or not a manifest of this format.
        """
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Manifest)
