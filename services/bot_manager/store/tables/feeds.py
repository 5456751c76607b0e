"""What a schedule has seen of its feed."""
