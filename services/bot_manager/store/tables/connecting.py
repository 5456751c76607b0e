"""Accounts that are being connected: what the server keeps between StartConnect and X's callback."""
