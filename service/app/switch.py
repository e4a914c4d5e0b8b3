"""Which version answers. A request stays with the one that it began with."""

from __future__ import annotations

import gc
from threading import Lock

from starlette.types import Receive, Scope, Send

from anomaly.detector import Detector
from anomaly.image_detector import AnyDetector
from service.access.gate import Gate
from service.app import create_app
from service.app.edge import Edge
from service.app.lane import Lane
from service.detectors import Served
from service.routes.problems import ModelRejected
from service.scoring.scorer import Common, Hosted


class Switch:
    """One model: hands every request to the version of it that is served.

    Each version has an application of its own, with its routes, its documentation and its queue, so
    that nothing can mix them. The version before stays in memory, to be served again at once.

    Attributes:
        current: What is served.
        previous: What was served before; None if nothing was.
    """

    def __init__(self, served: Served, common: Common, gate: Gate | None = None) -> None:
        self.common = common
        self._gate = gate
        self.current = create_app(served, common, gate)
        self.previous: Edge | None = None
        self.current.scorer.begin()
        self._lock = Lock()

    @property
    def served(self) -> Served:
        """The model that is served."""
        return self.current.scorer.served

    @property
    def hosted(self) -> Hosted:
        """What its versions share."""
        return self.current.scorer.hosted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.current(scope, receive, send)

    def lane(self, url: bytes) -> Lane | None:
        """What answers usual score requests of that path; see `service.app.express`."""
        return self.current.lanes.get(url)

    def serve(self, served: Served) -> None:
        """Serve another version from the next request on; from any thread.

        Raises:
            ModelRejected: it would refuse what callers send now.
        """
        check_compatible(self.served.detector, served.detector)
        new = create_app(served, self.common, self._gate)
        with self._lock:
            self._begin(new)
        # What was served before the version before holds itself together; the collector is
        # called seldom here, leaves alone what was there at the start, and would let models pile
        # up.
        self.hosted.ledger.settle()
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def roll_back(self) -> Served:
        """Serve the version before again, and keep this one as the one before.

        Raises:
            ModelRejected: there is none.
        """
        with self._lock:
            if self.previous is None:
                raise ModelRejected(
                    "no other version was served since the service started. Point the alias at "
                    "another version, or restart with `models:/NAME/VERSION`."
                )
            self._begin(self.previous)
        return self.served

    def _begin(self, new: Edge) -> None:
        self.previous, self.current = self.current, new
        # Counts of a version that is forgotten would come back, and hold it.
        new.scorer.hosted.ledger.settle()
        new.scorer.begin()

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        await self.current.requests.close()


def check_compatible(old: AnyDetector, new: AnyDetector) -> None:
    """Refuse a model that would refuse what callers of the old one send.

    Raises:
        ModelRejected: it says why.
    """
    if isinstance(old, Detector) is not isinstance(new, Detector):
        raise ModelRejected("one scores rows of a table, and the other scores images.")
    if not isinstance(old, Detector) or not isinstance(new, Detector):
        return
    sent = {column.name: column for column in old.schema.required}
    for column in new.schema.required:
        before = sent.get(column.name)
        if before is None:
            reason = f"needs the column {column.name!r}, which callers do not send"
        elif before.kind is not column.kind:
            reason = f"takes {column.name!r} as {column.kind}, and callers send {before.kind}"
        elif before.nullable and not column.nullable:
            reason = f"takes no missing value in {column.name!r}, and callers may send some"
        else:
            continue
        raise ModelRejected(f"it {reason}.")
    if unknown := set(old.schema.names) - set(new.schema.names):
        listed = ", ".join(map(repr, sorted(unknown)))
        raise ModelRejected(f"it does not know columns that callers may send: {listed}.")
