"""The servers of `benchmarks.serving`, and what starts, loads and measures them."""
