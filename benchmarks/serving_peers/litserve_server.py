"""The detector behind LitServe.

    python -m benchmarks.serving_peers.litserve_server PORT MOST_REQUESTS WAIT_SECONDS

MOST_REQUESTS is how many LitServe may merge, 1 scores each by itself; WAIT_SECONDS is how long it
waits for them.
"""

from __future__ import annotations

import sys
from itertools import accumulate

import litserve
import numpy as np

from anomaly.arrays import Float64
from benchmarks.serving_peers.scoring import open_scorer


class OneByOne(litserve.LitAPI):  # type: ignore[misc]
    """`POST /predict` with `{"rows": [[...]]}`.

    LitServe takes annotations of what is decoded and encoded for models to check it with.
    """

    def setup(self, device: str) -> None:
        """Called once by the process that scores."""
        self._score = open_scorer()

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """(N, D)."""
        return np.array(request["rows"], dtype=np.float64)

    def predict(self, rows: Float64) -> Float64:
        """(N,) of the rows of one request."""
        return self._score(rows)

    def encode_response(self, scores):  # type: ignore[no-untyped-def]
        """The answer to one request."""
        return {"scores": scores.tolist()}


class Merged(OneByOne):
    """The same, several requests at a time; each may have several rows."""

    def batch(self, inputs: list[Float64]) -> list[Float64]:
        """As they are: `predict` must know where one request ends."""
        return inputs

    def predict(self, requests: list[Float64]) -> list[Float64]:  # type: ignore[override]
        """The scores of each request."""
        ends = list(accumulate(map(len, requests)))
        return np.split(self._score(np.concatenate(requests)), ends[:-1])

    def unbatch(self, output: list[Float64]) -> list[Float64]:
        """As they are."""
        return output


def main() -> None:
    """Serve until a signal."""
    port, most, wait = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    api = Merged(max_batch_size=most, batch_timeout=wait) if most > 1 else OneByOne()
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
