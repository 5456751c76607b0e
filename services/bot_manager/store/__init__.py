"""Ports of the service's record, and PostgreSQL behind them. The store keeps and finds; rules live in domain/."""
