"""What keeps the trail provable: signing its end again and again, proving it when asked, removing what is too old, erasing persons."""
