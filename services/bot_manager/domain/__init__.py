"""Rules and use cases of bots and posts. Knows neither gRPC, nor protobuf, nor SQL; clock, ids and stores are arguments."""
