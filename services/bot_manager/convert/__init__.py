"""protobuf ↔ domain: total functions. What the contract's validation lets through, they can convert."""
