"""A slow parser that reads one character at a time, to compare with."""

from __future__ import annotations


def reference_rows(text: str, newlines_in_values: bool) -> tuple[list[tuple[int, str]], int | None]:
    """A character at a time: (line, text) of each row, and the line of one left open."""
    rows: list[tuple[int, str]] = []
    line, start, state = 1, 1, "field start"
    row = ""
    i = 0
    while i < len(text):
        char = text[i]
        end = "\r\n" if text[i : i + 2] == "\r\n" else char
        if end in ("\r\n", "\n", "\r"):
            i += len(end)
            line += 1
            if state == "quoted" and newlines_in_values:
                row += end
                continue
            if state == "quoted":
                return rows, start
            rows.append((start, row))
            start, row, state = line, "", "field start"
            continue
        row += char
        if state == "quoted" and char == '"':
            if text[i + 1 : i + 2] == '"':
                row += '"'
                i += 1
            else:
                state = "plain"
        elif state == "field start" and char == '"':
            state = "quoted"
        elif state != "quoted":
            state = "field start" if char == "," else "plain"
        i += 1
    if state == "quoted":
        return rows, start
    if row:
        rows.append((start, row))
    return rows, None
