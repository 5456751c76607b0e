"""Rules and use cases of authentication. Time and randomness are arguments; no gRPC, protobuf or SQL in here."""
