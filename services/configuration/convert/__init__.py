"""Protobuf ↔ domain: total functions, one module per part of the contract."""
