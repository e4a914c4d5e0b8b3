"""JSON as it travels: requests become records, verdicts become answers. No HTTP here."""
