"""What happens in the fleet, told to those who watch: written where it becomes true, read in the order in which it did."""
