"""secure_bot_data: the secrets of bots, and who got to see them.

owns       the secrets' values (in the vault), what is known about them, the trail of every reading, leases
gives      metadata to people who may see it, values to people who may reveal them and to bot_manager on short leases
never      puts a value into PostgreSQL, a log, an error or an event; calls X; calls another service
called by  the gateway for people; bot_manager by its mesh identity (StoreBotSecret, LeaseBotSecret, RevokeBotLeases, and claims to
           replace what can be exchanged only once: ClaimSecretRotation, ReleaseSecretRotation); every service for values that it keeps
           itself (Encrypt, Decrypt)
stores     vault: KV `bots/<bot id>/<name>`, each version sealed with Transit before it gets there
           PostgreSQL: a catalogue of the vault's content without values, the access trail, leases, claims

The vault is the record, the catalogue a copy that heals itself: `domain/settling.py` tells how.
"""
