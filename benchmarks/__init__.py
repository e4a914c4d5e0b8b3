"""Long runs behind `make bench`: what they measured stands in RESULTS.md."""
