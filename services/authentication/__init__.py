"""Who somebody is: accounts, passwords, sessions and the tokens that prove them.

owns       users, password hashes, sessions with their refresh tokens, signing keys, counts of failed sign-ins
never      decides what a role may do (configuration), sees a bot's credentials, stores a token or password that could be used
called by  the gateway for people; every service for the key set
calls      the vault (its own Transit key seals the private signing keys), configuration's watch for roles
stores     PostgreSQL schema `authentication`
away       vault away: whoever is signed in stays so; sign-in works while the signing key is open in memory
"""
