"""Who is calling, and does that still hold: access tokens and API keys of users, the public keys to check the former, what was
revoked of both, the streams that hang on them, and SPIFFE IDs of services."""
