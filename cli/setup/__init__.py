"""Set-up steps for any PostgreSQL, NATS and Vault, given addresses and the right to administer them.

`vivesphere up` runs them against its embedded engines, the container job `vivesphere setup` against the ones it is pointed
at. Every step may be repeated: it changes only what differs.
"""

DATABASE = "vivesphere"
"""Name of the one database; each service has a schema in it."""
