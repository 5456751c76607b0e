"""What secrets look like in text: two alternations of regular expressions, and literals that tell cheaply when none can match.

Two kinds of shape. *Bare* ones are known by themselves (JWT, Vault token, PEM, long random texts); the whole match is replaced.
*Named* ones stand behind a name (`password=…`, `"access_token": "…"`, `Authorization: …`, `--secret …`); only the value (group
`value`) is replaced. Rather too much than too little: prose such as `password: wrong` loses a word. Every repetition is bounded or
anchored, so matching stays linear in the length of a hostile line.
"""

import re

REDACTED = "[REDACTED]"

# Also encoded for URLs, up to five times over.
_QUOTE = r"""(?:\\{0,8}["']|%(?:25){0,4}22)"""
_BLANK = r"(?:\s|\\{1,8}[nrt]|%(?:25){0,4}(?:20|0[aAdD9])){0,16}+"
# Where a word begins, also behind what stands for a line end or is encoded.
_START = r"(?:\b|(?<=\\[nrt])|(?<=%[0-9a-fA-F]{2}))"
# `name=value`, `"name": "value"`, and the pairs `('name', 'value')` and `{"name": "Cookie", "value": "…"}`.
_VALUE_NAME = rf"{_QUOTE}value{_QUOTE}\s{{0,4}}:\s{{0,4}}"
_SEPARATOR = (
    rf"(?:{_QUOTE}?{_BLANK}(?:=>|[:=]|%(?:25){{0,4}}3[aAdD]){_BLANK}"
    rf"""|{_QUOTE}\s{{0,4}},\s{{0,4}}(?:{_VALUE_NAME}|(?!{_VALUE_NAME}))(?=b?\\{{0,8}}["']))"""
)
_ARGUMENT = r"""(?:["']?,?\s{1,4}["']?|=)"""
_QUOTED = r"""b?\\{{0,8}}(?P<q{n}>["'])(?!\[REDACTED\])(?P<v{n}>(?:(?!(?P=q{n}))[^\\]|\\.)+)"""
# A bare value may not begin like a quoted one and ends where a list, object, URL or sentence goes on.
_BARE = r"""(?!\[REDACTED\]|b?\\{{0,8}}["']|[\[{{(]+["'\s])(?P<v{n}>[^\s,;&"'<>)\]}}]+)"""
# Scheme words of HTTP authentication belong to the value that follows them.
_SCHEME = r"""(?:(?:bearer|basic|digest|oauth|token|negotiate)(?:\s|%20|\+){1,4})?"""

_NAME_WORDS = (
    r"passw(?:or)?d|passphrase|passwd|pwd|secret|(?<!page)(?<!page_)(?<!page-)token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|consumer[_-]?key|encryption[_-]?key|client[_-]?assertion|credentials?|oauth[_-]?(?:signature|verifier|nonce)"
    r"|recovery[_-]?codes?|totp|(?<![a-z])otp(?![a-z])|code[_-]?verifier|set[_-]?cookie"
)
# What may follow the word within the name: `tokens`, `token_2`, `secretValue`, but not `secretary` or `tokenizer`.
_NAME_TAIL = r"(?:s|[0-9]{1,3}|s?[_-][a-z0-9_-]{0,32}|s?(?-i:[A-Z])[a-z0-9_-]{0,32})?"
NAMED = rf"(?P<name>(?:{_NAME_WORDS}){_NAME_TAIL})"

_HEADER_LINE = (
    r"(?:(?<![a-z])|(?<=\\[nrt]))(?P<header>(?:proxy-)?authorization|x-vault-token|x-api-key|(?:set-)?cookie)"
    + _SEPARATOR
    + r"(?:"
    r"""b?\\{0,8}(?P<q0>["'])(?!\[REDACTED\])(?P<v0>(?:(?!(?P=q0))[^\\]|\\.)+)"""
    r"""|(?!\[REDACTED\]|b?\\{0,8}["']|[\[{(]+["'\s])(?P<v1>\S[^\r\n]*))"""
)
_SCHEMED = (
    _START
    + r"(?P<scheme>bearer|basic)(?:\s{1,4}|%20|\+)(?!\[REDACTED\])(?P<v2>(?=[^\s]{0,200}[0-9A-Z=._~+/-])[A-Za-z0-9._~+/%-]{8,}=*)"
)
_NAMED_VALUE = (
    NAMED + _SEPARATOR + _SCHEME + r"(?:" + _QUOTED.format(n=3) + "|" + _BARE.format(n=4) + ")"
    r"|(?<![a-z0-9-])--(?=[a-z0-9])[a-z0-9-]{0,32}?"
    + NAMED.replace("name", "flag")
    + _ARGUMENT
    + r"(?!\[REDACTED\]|-)(?P<v5>[^\s,\"']+)"
)
_COOKIE = r"__(?:host|secure)-[\w-]{1,64}=(?!\[REDACTED\])(?P<v6>[^\s;,\"']+)"
_USERINFO = (
    r"(?<=://)(?!\[REDACTED\])(?P<v7>[^\s/?#@:\"']{0,256}:[^\s/?#@\"']{1,256}|[^\s/?#@:\"']{20,256})(?=@)"
)

# Also with escaped line ends, and cut off at the end.
_PEM = r"-----begin [a-z0-9 ]{0,32}private key-----[\s\S]*?(?:-----end [a-z0-9 ]{0,32}private key-----|\Z)"

_BARE_SHAPES = (
    r"eyJ[\w-]{4,}(?:\.|%2E)[\w-]{2,}(?:(?:\.|%2E)[\w-]*){0,3}",  # JWS and JWE, RFC 7515 and 7516
    r"ZXlK[A-Za-z0-9+/_-]{16,}=*",  # the same once more in base64
    r"hv[sbr]\.[\w-]{8,}",  # Vault and OpenBao tokens
    r"[sbr]\.[A-Za-z0-9]{20,}(?:\.[A-Za-z0-9]+)?\b",  # the older form; OpenBao still makes it
    r"vs[dkr]_[A-Za-z0-9_-]{6,}",  # our own API keys, refresh tokens and device tokens
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16,}\b",  # AWS key ids
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9]{20,}\w*",
    r"glpat-[\w-]{16,}|npm_[A-Za-z0-9]{20,}|ya29\.[\w-]{20,}",
    # "Bearer ", "Basic ", a PEM's first line, Vault's and our own tokens, in base64.
    r"(?:QmVhcmVyI|QmFzaWMg|LS0tLS1CRUdJT|aHZzL|dnNrX)[A-Za-z0-9+/_-]{8,}=*",
    r"xox[abeoprs]-[\w-]{0,64}[A-Za-z0-9]{20,}|"
    r"sk[_-](?:live|test|ant|proj)[\w-]{10,}|"
    r"AIza[\w-]{30,}|"
    r"pypi-[\w-]{20,}",
    r"A{16,}[A-Za-z0-9%]{16,}",  # app-only bearer tokens of X
    r"[0-9]{4,20}-[A-Za-z0-9]{24,}\b",  # OAuth 1.0a access tokens of X
)
# Long and mixed: 32 or more of upper case, lower case and digits are no word, hash or UUID.
_LONG = r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z+/_-]{0,60}[0-9])(?=[a-z0-9+/_-]{0,60}[A-Z])(?=[A-Z0-9+/_-]{0,60}[a-z])[A-Za-z0-9]{32,}(?![A-Za-z0-9])"

NAMED_PATTERN = re.compile(
    "|".join((_PEM, _HEADER_LINE, _NAMED_VALUE, _SCHEMED, _COOKIE, _USERINFO)), re.IGNORECASE
)
"""Groups v0 to v7 mark the value of a named shape; without one the whole match (PEM) is the secret."""

BARE_PATTERN = re.compile(f"{_START}(?:{'|'.join(_BARE_SHAPES)})|{_LONG}")
"""The whole match is the secret."""

LONG_RUN = re.compile(r"[A-Za-z0-9%]{20}")
"""A bare shape holds one of these, unless `may_be_bare`."""


def may_be_named(lowered: str) -> bool:
    """Whether a text in lower case may hold a named shape. Written out: a loop takes twice as long, an alternation ten times."""
    return (
        "token" in lowered
        or "key" in lowered
        or "secret" in lowered
        or "pass" in lowered
        or "pwd" in lowered
        or "auth" in lowered
        or "://" in lowered
        or "cookie" in lowered
        or "credential" in lowered
        or "otp" in lowered
        or "recovery" in lowered
        or "verifier" in lowered
        or "bearer" in lowered
        or "basic" in lowered
        or "__host" in lowered
        or "__secure" in lowered
        or "-----b" in lowered
    )


def may_be_bare(lowered: str) -> bool:
    """Whether a text in lower case, without a LONG_RUN, may hold a bare shape."""
    return (
        "eyj" in lowered
        or "vsd_" in lowered
        or "vsk_" in lowered
        or "vsr_" in lowered
        or "hvs." in lowered
        or "hvb." in lowered
        or "hvr." in lowered
        or "aiza" in lowered
        or "ya29." in lowered
        or "glpat-" in lowered
        or "pypi-" in lowered
        or "sk_" in lowered
        or "sk-" in lowered
    )
