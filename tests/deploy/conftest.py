"""A service to hold the manifests against: that of the service's own tests."""

from __future__ import annotations

from tests.service.conftest import artifact, caller, detector, make_app, served

__all__ = ["artifact", "caller", "detector", "make_app", "served"]
