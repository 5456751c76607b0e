"""Tools of the repository itself: code generation and checks of the contracts. Nothing here is imported at run time.

- `python -m tools.generate`: proto/ → generated/
- `python -m tools.contracts`: lint, format and compatibility of proto/
"""
