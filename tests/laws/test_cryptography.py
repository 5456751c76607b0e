"""Laws of secrets in the source tree: where chance comes from, which hashes there are, and how secrets are compared."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.laws.test_sources import modules

OURS = ("mesh", "services", "gateway", "cli")
WEAK = re.compile(r"md5|md4|sha_?1", re.IGNORECASE)
ONE_TIME_CODES = Path("services/authentication/domain/totp.py")
"""RFC 6238 with SHA-1 is what every authenticator app reads; HMAC-SHA-1 is not what is broken about SHA-1."""
SIGNATURES_FOR_X = Path("services/bot_manager/x/signing.py")
"""HMAC-SHA-1 is the signature of OAuth 1.0a (RFC 5849) that X takes."""
SECRET = re.compile(
    r"(^|_)(tokens?|secret|mac|digest|hash|hashed|password|signature|otp|code_hash|checksum)$"
)
EXPLAINED = {
    Path(
        "mesh/paging.py"
    ): "whether a text is the one spelling of its own bytes; the MAC is compared beside it",
    Path("services/authentication/domain/devices.py"): "the same",
    Path("mesh/telemetry/spool.py"): "a CRC against torn writes",
    Path("services/bot_manager/store/requests.py"): "digests of two requests of one caller",
    Path("services/configuration/domain/role_book.py"): "the same",
    Path(
        "services/logging/domain/verifying.py"
    ): "hashes of the audit chain, which everybody who may ask is shown",
    Path("services/logging/auditing/proving.py"): "the same",
    Path("services/logging/auditing/checkpointing.py"): "the same",
}
"""Where something that sounds like a secret is compared with `==`, and why that tells nobody anything. Columns in a query are no
comparison of ours: they hold digests of values that nobody can guess, or ciphertext."""
JITTER = {
    Path("cli/ports.py"),  # a free port
    Path("mesh/tasks.py"),
    Path("mesh/vault/client.py"),
    Path("services/bot_manager/publishing/sender.py"),
    Path("services/bot_manager/webhooks/sending.py"),
}
"""Where chance only spreads load."""


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that code uses, imports or reads as an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias):
            yield node.lineno, node.name


def test_weak_hashes_stand_where_others_ask_for_them_only() -> None:
    """ASVS 11.4.1: MD5 and SHA-1 are for nothing here but one-time codes and signatures of OAuth 1.0a, whose standards name SHA-1."""
    found = {path for path, tree in modules(*OURS) for _, name in names(tree) if WEAK.search(name)}
    texts = {
        path
        for path, tree in modules(*OURS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and WEAK.fullmatch(node.value.replace("-", "_"))
    }
    assert found | texts == {ONE_TIME_CODES, SIGNATURES_FOR_X}


def test_chance_comes_from_the_operating_system() -> None:
    """ASVS 11.5.1: what must not be guessed is made by `secrets` or `os.urandom`; `random` only spreads pauses."""
    users = {
        path
        for path, tree in modules(*OURS)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "random")
    }
    assert users == JITTER


def test_secrets_are_compared_in_constant_time() -> None:
    """ASVS 11.2.4: `==` tells by its time how much of a guess was right."""
    found: dict[Path, list[str]] = {}
    for path, tree in modules("mesh", "services", "gateway"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            if not any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
                continue
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Constant) or ".c." in ast.unparse(side) for side in sides):
                continue
            if any(SECRET.search(_last_name(side)) for side in sides):
                found.setdefault(path, []).append(f"{node.lineno} {ast.unparse(node)}")
    assert {path: lines for path, lines in found.items() if path not in EXPLAINED} == {}
    assert found.keys() == EXPLAINED.keys(), "an explanation of nothing"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_encryption_is_the_vault_s_alone() -> None:
    """ASVS 11.3: no cipher, no mode and no nonce is chosen here; what must be read again is sealed by the vault."""
    ciphers = re.compile(r"\b(ciphers|AESGCM|AESSIV|ChaCha20Poly1305|Fernet|Cipher|modes|PKCS1v15|OAEP)$")
    found = [
        f"{path}:{line} {name}"
        for path, tree in modules(*OURS)
        for line, name in names(tree)
        if ciphers.search(name)
    ]
    imported = [
        f"{path}:{node.lineno}"
        for path, tree in modules(*OURS)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and ciphers.search(node.module)
    ]
    assert found + imported == []
