"""Sends the same rows to the service once a second, so that the dashboard has something to show."""

from __future__ import annotations

import sys
import time

from anomaly.client import Client

with Client(sys.argv[1]) as client:
    while True:
        client.score(sys.argv[2])
        time.sleep(1)
