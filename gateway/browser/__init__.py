"""Sessions of browsers: tokens in cookies that no script can read, and the refusal of what other sites ask for.

Owns: who counts as a browser, the cross-origin check, and the way of the fields that the contract marks with
`(vivesphere.mesh.v1.cookie)` into cookies and back. The contract says which fields and for how long; nothing here lists them.

    origin.py       who is a browser, and whether one of our own pages asks
    authority.py    host and port of a Host header or an origin; what is loopback
    contract.py     the cookie options of a descriptor set, as places in messages
    cookies.py      Cookie and Set-Cookie headers
    sessions.py     the whole, compiled once at the start: one call of one browser

A browser is whoever sends Sec-Fetch-Site or Origin. Everyone else gets and gives tokens in bodies. Cookies have a part only in
unary methods behind unsafe HTTP methods, so that each call that uses, sets or takes away a cookie has passed the cross-origin
check; a contract that wants more refuses the start. The stand-alone transcoder has none of this.
"""
