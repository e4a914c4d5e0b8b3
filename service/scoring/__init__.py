"""From a request to its answer, by way of the shared batch. No HTTP here."""
