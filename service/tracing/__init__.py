"""Spans of the requests that score, for OpenTelemetry (extra `otel`).

Only `service.tracing.spans` imports it when it is imported itself, and that happens as soon as
somebody asks for traces, not before.
"""
