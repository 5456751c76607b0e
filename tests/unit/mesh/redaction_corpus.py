"""Texts with a secret in them, and texts without. Every secret here is made up.

In `SHAPES` the part that must not survive is given beside the text; nothing of it that is longer than eight characters may remain.
"""

JWT = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
VAULT = "hvs.CAESIJx7Qm-9wLr0bqk_Y2Zq8TnO1dWc"
OLD_VAULT = "s.Zx8Kq2LmN4pR6tV8wY0aB2cD"
PAT = "vsk_0a1B2c3D4e5F6g7H8i9J0kLmNoPqRs1a2b3c"
DEVICE = "vsd_Gm7Qx2LkT9-vB_4sZ0yWnA"
REFRESH = "vsr_kP8-wX3_nT6qLm0z"
BEARER = "AAAAAAAAAAAAAAAAAAAAAMLheAAAAAAA0%2BuSeid%2BULvsea4JtiGRiSDSJSI%3DEUifiRBkKG5E2XzMDjRfl76ZC9Ub0wnz4XsNiRVBChTYbJcE3F"
OAUTH_TOKEN = "1460323737035677698-pR7Qz4YkVt2mXw9sLb3HcN6dJf8GaE"
OAUTH_SECRET = "Kq3vT8yXw2bN5mZ7pL9rD4fG6hJ1sA0cVeUiOxQaWsEdR"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGx\n8sLkQ2vT\n-----END PRIVATE KEY-----"
WORD = "hunter2-hunter2"

SHAPES: dict[str, tuple[str, str]] = {
    "jwt": (f"verified {JWT} in 2 ms", JWT),
    "jwt in url": (f"GET /x?access_token={JWT}&page=2", JWT),
    "jwt url-encoded dots": (f"q={JWT.replace('.', '%2E')}", JWT.replace(".", "%2E")),
    "jwt cut off": (f"got {JWT[:60]}", JWT[:60]),
    "jwt base64 again": (
        "blob ZXlKaGJHY2lPaUpGWkVSVFFTSXNJblI1Y0NJNkltRjBLMnAzZENKOQ==",
        "ZXlKaGJHY2lPaUpGWkVSVFFTSXNJblI1",
    ),
    "bearer header": (f"Authorization: Bearer {WORD}9", WORD),
    "bearer alone": ("sent bearer abcDEF123456789 to peer", "abcDEF123456789"),
    "bearer url-encoded": ("header=Bearer%20abcDEF123456789", "abcDEF123456789"),
    "x app-only bearer": (f"using {BEARER}", BEARER),
    "basic header": ("authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    "basic alone": ("tried Basic dXNlcjpodW50ZXIyMg==", "dXNlcjpodW50ZXIyMg=="),
    "header in dict repr": (
        "{'Authorization': 'Basic dXNlcjpodW50ZXIy', 'Accept': '*/*'}",
        "dXNlcjpodW50ZXIy",
    ),
    "oauth1 header": (
        f'Authorization: OAuth oauth_consumer_key="abc", oauth_token="{OAUTH_TOKEN}", oauth_signature="aGVsbG8gd29ybGQ%3D"',
        OAUTH_TOKEN,
    ),
    "oauth1 signature": ('oauth_signature="aGVsbG8gd29ybGQ%3D"', "aGVsbG8gd29ybGQ"),
    "oauth1 params": (f"POST&oauth_token={OAUTH_TOKEN}&oauth_version=1.0", OAUTH_TOKEN),
    "oauth1 base string": (f"POST&https%3A%2F%2Fapi&oauth_token%3D{OAUTH_TOKEN}%26status%3Dhi", OAUTH_TOKEN),
    "oauth1 token alone": (f"signed with {OAUTH_TOKEN}", OAUTH_TOKEN),
    "oauth1 token secret alone": (f"secrets were {OAUTH_SECRET} and more", OAUTH_SECRET),
    "oauth1 tuple": (f"('{OAUTH_TOKEN}', '{OAUTH_SECRET}')", OAUTH_SECRET),
    "consumer key": ("consumer_key=xvz1evFS4wEEPTGEFPHBog", "xvz1evFS4wEEPTGEFPHBog"),
    "oauth verifier": ("callback?oauth_verifier=uw7NjWHT6OJ1MpJOXsHf", "uw7NjWHT6OJ1MpJOXsHf"),
    "pkce verifier": ("code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r", "dBjftJeZ4CVP"),
    "refresh token json": ('{"refresh_token":"bW9yZS1zZWNyZXQ","expires_in":3600}', "bW9yZS1zZWNyZXQ"),
    "refresh token escaped json": ('{\\"refresh_token\\":\\"bW9yZS1zZWNyZXQ\\"}', "bW9yZS1zZWNyZXQ"),
    "vault token": (f"X-Vault-Token: {VAULT}", VAULT),
    "vault token alone": (f"renewed {VAULT}", VAULT),
    "vault old token": (f"login gave {OLD_VAULT}", OLD_VAULT),
    "vault secret id": (
        "secret_id=6a174c20-f6de-a53c-74d2-6018fcceff64",
        "6a174c20-f6de-a53c-74d2-6018fcceff64",
    ),
    "own api key": (f"key {PAT} used", PAT),
    "own api key in bytes": (f"b'{PAT}'", PAT),
    "own refresh token": (f"refreshed {REFRESH} again", REFRESH),
    "own device token": (f"known by {DEVICE}", DEVICE),
    "aws key id": ("AKIAIOSFODNN7EXAMPLE was refused", "AKIAIOSFODNN7EXAMPLE"),
    "aws secret": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    "github token": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    "slack token": ("xoxb-123456789012-abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwx"),
    "pem": (PEM, "MC4CAQAwBQYDK2VwBCIEIGx"),
    "pem escaped": (repr(PEM), "MC4CAQAwBQYDK2VwBCIEIGx"),
    "pem cut off": (PEM[:60], "MC4CAQAwBQYDK2VwBCIEIGx"),
    "pem rsa": (PEM.replace("PRIVATE", "RSA PRIVATE"), "MC4CAQAwBQYDK2VwBCIEIGx"),
    "password pair": (f"password={WORD} user=a", WORD),
    "password quoted": (f'password: "{WORD} with blanks"', WORD),
    "password in dict repr": (f"{{'password': '{WORD}', 'user': 'a'}}", WORD),
    "password in dict repr bytes": (f"{{'password': b'{WORD}'}}", WORD),
    "password url-encoded": (f"body=password%3D{WORD}", WORD),
    "password arrow": (f"password => {WORD}", WORD),
    "password prefixed name": (f"POSTGRES_PASSWORD={WORD}", WORD),
    "password camel case": (f"newPassword: {WORD}", WORD),
    "password flag": (f"vivesphere up --admin-password {WORD}", WORD),
    "password argv": (f"['login', '--password', '{WORD}']", WORD),
    "passphrase": (f"passphrase={WORD}", WORD),
    "client secret": (f"client_secret={WORD}", WORD),
    "api key": (f"x-api-key: {WORD}", WORD),
    "cookie": (f"Cookie: __Host-session={WORD}; theme=dark", WORD),
    "set-cookie": (f"set-cookie: sid={WORD}; HttpOnly", WORD),
    "cookie alone": (f"stored __Host-session={WORD}", WORD),
    "url userinfo": (f"postgresql+psycopg://admin:{WORD}@127.0.0.1:5432/db", WORD),
    "url token userinfo": ("https://abcdefghijklmnopqrstuvwxyz@host/repo", "abcdefghijklmnopqrstuvwxyz"),
    "proxy url": (f"proxy socks5://bot:{WORD}@10.0.0.1:1080 failed", WORD),
    "otp": ("otp=491827563", "491827563"),
    "recovery code": ("recovery_code: 8f3k-2m9q-77xz", "8f3k-2m9q-77xz"),
    "long random": ("found Zk3vT8yXw2bN5mZ7pL9rD4fG6hJ1sA0cV there", "Zk3vT8yXw2bN5mZ7pL9rD4fG6hJ1sA0cV"),
}

CLEAN = (
    "post claimed",
    "call finished",
    "GET /api/v1/bots/0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b 200 in 12 ms",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/vivesphere.authentication.v1.AuthenticationService/Login OK",
    "token expired",
    "tokens: 5",
    "next_page_token=MTIzNDU2",
    "token_type: Bearer",
    "token_type=Bearer expires_in=3600",
    "password_file=/run/secrets/db",
    "secret rotated to version 3",
    "secret_version=7",
    "the passwordless: true flag",
    "tokenizer: fast",
    "secretary: Bob",
    "Basic Latin text",
    "bearer of bad news",
    "keyboard: de",
    "https://x.com/i/status/1460323737035677698",
    "https://docs.example.org/a@b",
    "mailto user@example.org",
    "listening on 127.0.0.1:9000",
    "spiffe://vivesphere/bot_manager",
    "dns:///bot-manager:9000",
    "ERROR_REASON_IDEMPOTENCY_KEY_REUSED",
    "Ünïcode 🎉 текст 投稿",
    "2026-01-01T00:00:00.000000+00:00",
    "authorization refused",
    "monkey: banana",
    "",
)
