"""From features to scores: one model, on one device, in blocks of one shape."""
