"""The three services of the contract: convert, call, convert. Methods that are not here are not served yet."""
