"""`python -m anomaly` is the command `anomaly`."""

from anomaly.cli import main

main()
