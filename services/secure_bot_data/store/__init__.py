"""Where secrets are kept: `vault` for values, `catalogue` and `trail` in PostgreSQL for what is known of them. Knows no rule."""
