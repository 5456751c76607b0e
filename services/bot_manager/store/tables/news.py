"""Webhooks with their deliveries, and what WatchEvents tells beside the stories of posts."""
