"""Who is calling: access tokens of users, SPIFFE IDs of services, and the public keys to check the former."""
