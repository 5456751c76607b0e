"""The policy of each service, made from the templates in `deploy/vault`."""

import re

from cli.errors import CliError
from cli.registry import PROJECT_ROOT, Service
from mesh.errors import InvalidArgument
from mesh.vault.paths import segment
from mesh.vault_names import VaultNames

POLICY_FOLDER = PROJECT_ROOT / "deploy" / "vault"
_BLANK = re.compile(r"\{\{(\w+)\}\}")


class UnsafeName(CliError):
    """A name that a policy must not contain; the message says which one."""


def policy_text(service: Service, names: VaultNames) -> str:
    """The policy of a service: what all may do, then what only it may do. Raises UnsafeName."""
    templates = [POLICY_FOLDER / "service.hcl"]
    own = POLICY_FOLDER / f"{service.name}.hcl"
    if own.exists():
        templates.append(own)
    words = {**_words(names), "service": service.dashed}
    text = "\n".join(template.read_text(encoding="utf-8") for template in templates)
    return _BLANK.sub(lambda blank: words[blank[1]], text)


def role_name(service: Service, names: VaultNames) -> str:
    """Name of the service's AppRole and policy."""
    return f"{names.role_prefix}-{service.dashed}"


def check_names(names: VaultNames) -> None:
    """Raises UnsafeName: a `*` in a policy would open more than one drawer."""
    _words(names)


def _words(names: VaultNames) -> dict[str, str]:
    words = vars(names)
    for name, word in words.items():
        try:
            segment(word, name)
        except InvalidArgument as error:
            message = error.message
        else:
            continue
        raise UnsafeName(message)
    return words
