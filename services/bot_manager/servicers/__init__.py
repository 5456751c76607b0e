"""What the contract's methods do: convert, call, convert. Methods that are not here answer NOT_IMPLEMENTED."""
