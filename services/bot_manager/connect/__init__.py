"""Connecting an account by OAuth 2.0 with PKCE: from a click in the console to stored tokens.

addresses   what has to be registered with X, and where the browser is sent
flow        the procedure: begin, take what came back, complete
sealing     the verifier, encrypted while the person is with X
page        what the browser shows at the end
"""
