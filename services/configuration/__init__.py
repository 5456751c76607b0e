"""Settings and roles of the whole mesh, as one numbered history that everyone watches.

Owns: definitions of settings (declared by the services that read them), stored values, roles, role bindings, the log of revisions,
      changes that wait for approval or roll out step by step, and the record of which process runs which revision.
Never: keeps a secret, knows what a setting means, decides a call for another service, or trusts a message for its content.
Called by: operators through the gateway (SettingsService, RoleService), every service of the mesh (WatchService).
Stores: PostgreSQL schema `configuration`. NATS carries `hints.configuration`, the newest revision's number, and nothing else.

Read `domain/changes.py` for what a revision is, then `store/log.py` for how it is made, then `feed.py` for how it is told;
`domain/pending.py` and `driver.py` for changes that are not in force at once.
"""
