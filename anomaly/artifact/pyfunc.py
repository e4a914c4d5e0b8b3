"""What `mlflow.pyfunc` loads and calls, and the signature that tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, TensorSpec
from mlflow.types import Schema as MlflowSchema
from PIL import Image

from anomaly.artifact.directory import load_directory
from anomaly.artifact.golden import golden_records, golden_rows
from anomaly.artifact.images import golden_images
from anomaly.data.frames import records_from_frame
from anomaly.data.images import Pixels, decode
from anomaly.data.schema import Kind
from anomaly.detector import Detector, Verdicts
from anomaly.errors import ImageRejected, SchemaMismatch
from anomaly.image_detector import AnyDetector, ImageDetector, check_tiles

LOADER = __name__

TYPES = {
    Kind.NUMERIC: DataType.double,
    Kind.BOOLEAN: DataType.boolean,
    Kind.CATEGORICAL: DataType.string,
    Kind.DATETIME: DataType.datetime,
}

IMAGE_COLUMN = "image"
"""Holds the bytes of PNG or JPEG files; in MLflow's JSON they are base64."""

Params: TypeAlias = Mapping[str, Any] | None


class PyfuncDetector:
    """What `mlflow.pyfunc.load_model` wraps, for tables."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def predict(self, model_input: Any, params: Params = None) -> Any:
        """A frame of score, p_value, is_anomaly and top_features, one row a row.

        Args:
            model_input: DataFrame with at least the feature and context columns.
            params: `alpha` (0 is the one in force) and `explain_top_k`.
        """
        given = {"alpha": 0.0, "explain_top_k": 0, **(params or {})}
        records = records_from_frame(model_input, self.detector.schema)
        verdicts = self.detector.detect(records, given["alpha"] or None)
        answer = _frame(verdicts, model_input.index)
        if given["explain_top_k"]:
            reasons = self.detector.explain(records)
            answer["top_features"] = [
                ", ".join(reason.column for reason in reasons.top(row, given["explain_top_k"]))
                for row in range(len(records))
            ]
        return answer


class PyfuncImages:
    """What `mlflow.pyfunc.load_model` wraps, for images."""

    def __init__(self, detector: ImageDetector) -> None:
        self.detector = detector

    def predict(self, model_input: Any, params: Params = None) -> Any:
        """A frame of score, p_value and is_anomaly, one row an image.

        Args:
            model_input: DataFrame whose column `image` holds the bytes of PNG or JPEG files.
            params: `alpha` (0 is the one in force).

        Raises:
            SchemaMismatch: there is no such column.
            ImageRejected: a cell holds no image; names its row.
        """
        given = {"alpha": 0.0, **(params or {})}
        if IMAGE_COLUMN not in model_input:
            raise SchemaMismatch(
                f"no column is named {IMAGE_COLUMN!r}. It holds the bytes of PNG or JPEG files.",
                code="missing_column",
            )
        images = self._images(model_input[IMAGE_COLUMN])
        return _frame(self.detector.detect(images, given["alpha"] or None), model_input.index)

    def _images(self, cells: Iterable[Any]) -> Iterator[Pixels]:
        """What the cells hold, one after the other."""
        for row, data in enumerate(cells):
            try:
                if not isinstance(data, bytes):
                    raise ImageRejected(
                        f"holds {type(data).__name__}, not the bytes of a PNG or JPEG file. Read "
                        "the file, or leave the row out.",
                        code="image_format",
                    )
                pixels = decode(data)
                check_tiles(pixels, self.detector.preprocessor)
            except ImageRejected as error:
                raise ImageRejected(
                    error.message, code=error.code, row=row, column=IMAGE_COLUMN
                ) from error
            yield pixels


def _load_pyfunc(path: str) -> PyfuncDetector | PyfuncImages:
    """The hook that MLflow calls."""
    detector = load_directory(Path(path))
    match detector:
        case Detector():
            return PyfuncDetector(detector)
        case ImageDetector():
            return PyfuncImages(detector)


def signature_of(detector: AnyDetector) -> ModelSignature:
    """Every column of a table optional: whether a value may be missing is the schema's decision.

    Numbers are doubles, so that a column of whole numbers with a gap still fits.
    """
    inputs: list[ColSpec | TensorSpec]
    params = [ParamSpec("alpha", DataType.double, 0.0)]
    match detector:
        case Detector():
            inputs = [
                ColSpec(TYPES[column.kind], column.name, required=False)
                for column in detector.schema.required
            ]
            params.append(ParamSpec("explain_top_k", DataType.long, 0))
        case ImageDetector():
            inputs = [ColSpec(DataType.binary, IMAGE_COLUMN)]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, "score"),
        ColSpec(DataType.double, "p_value"),
        ColSpec(DataType.boolean, "is_anomaly"),
    ]
    return ModelSignature(MlflowSchema(inputs), MlflowSchema(outputs), ParamSchema(params))


def example_of(detector: AnyDetector) -> Any:
    """A frame that the model accepts; none of it is training data."""
    import pandas as pd

    if isinstance(detector, ImageDetector):
        return pd.DataFrame({IMAGE_COLUMN: [_png(i) for i in golden_images(detector)[:2]]})
    schema = detector.schema
    records = golden_records(schema, golden_rows(detector).columns).take(slice(0, 5))
    return pd.DataFrame(
        {
            column.name: records.columns[column.name].astype(bool)
            if column.kind is Kind.BOOLEAN
            else records.columns[column.name]
            for column in schema.required
        }
    )


def _frame(verdicts: Verdicts, index: Any) -> Any:
    import pandas as pd

    columns = {
        "score": verdicts.scores,
        "p_value": verdicts.p_values,
        "is_anomaly": verdicts.is_anomaly,
    }
    return pd.DataFrame(columns, index=index)


def _png(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(np.squeeze(pixels, -1) if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
