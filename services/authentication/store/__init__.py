"""What authentication remembers: ports for the domain, and their implementation on PostgreSQL and the vault."""
