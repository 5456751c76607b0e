"""What secrets are and what may be done with them. Knows neither gRPC, nor PostgreSQL, nor the vault's client."""
