"""What may be set, who may do what, and how both change. Knows neither gRPC, nor protobuf, nor SQL."""
