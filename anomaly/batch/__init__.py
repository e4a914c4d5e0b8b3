"""Files in, scored files out, in bounded memory."""
