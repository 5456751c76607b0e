"""The contract's two services of accounts: convert, call the domain, convert back."""
