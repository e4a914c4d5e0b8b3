"""Models as parts: networks, posterior, prior and likelihood, put together by `vae`.

Every formula is written once, for NumPy arrays and torch tensors alike (`ops`), so that what is
trained and what is served cannot drift apart.
"""
