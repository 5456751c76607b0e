"""What every process of the mesh shares.

owns     boot, identity, access decisions, errors, channels, database sessions, the outbox, messaging, telemetry, settings watch
never    knows a service by name beyond the two it is a client of: authentication (keys) and configuration (roles, settings)
called   by services/*, gateway and cli; imports generated contracts, never services, gateway, cli or sandbox
"""
