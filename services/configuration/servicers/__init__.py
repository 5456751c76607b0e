"""The three services of the contract: convert, call, convert."""
