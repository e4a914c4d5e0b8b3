"""The Open Inference Protocol over gRPC: another door to the same scores (extra `grpc`)."""
