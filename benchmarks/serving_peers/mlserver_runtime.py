"""The detector as a runtime of MLServer; `benchmarks.serving_peers.servers` writes its settings."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving_peers.scoring import open_scorer


class DetectorRuntime(MLModel):  # type: ignore[misc]
    """One input (N, D), one output (N,)."""

    async def load(self) -> bool:
        """Called once by each process that scores."""
        self._score = open_scorer()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Scores of one request, or of several that MLServer merged."""
        scores = self._score(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("scores", scores)
        return InferenceResponse(model_name=self.name, outputs=[output])
