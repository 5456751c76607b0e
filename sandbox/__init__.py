"""A local stand-in for the X API v2, for the embedded default, the demo and the tests.

Owns: accounts, their OAuth 1.0a keys and OAuth 2.0 grants, their posts and the posts' metrics, in memory and, when asked, in one file.
Behaves as X does where a client can tell the difference: signatures are verified, bodies are strict, limits are
counted, errors are problem documents, returned text is escaped and its links are t.co links.
Adds under `/sandbox/` what X does not have: accounts on demand, faults on demand, and a look behind the API.
Never: talks to the network, imports another package of this repository, or is part of a production deployment.

`python -m sandbox` serves; `sandbox.app.running` does the same inside a test.
"""
