"""What a person who looks into the vault sees of a secret without decrypting anything.

Shown as the entry's custom metadata, for people alone: nothing of ours reads it back, since whoever may write to the vault may change
it; what a version says of itself is authenticated together with its values.
"""

from collections.abc import Mapping
from typing import Final

from services.secure_bot_data.domain.model import Draft, SecretMetadata

MANAGED_BY: Final = "vivesphere"


def labels_of(secret: Draft | SecretMetadata) -> Mapping[str, str]:
    """Labels by name, without those that have nothing to say. Times as in RFC 3339."""
    labels = {
        "managed_by": MANAGED_BY,
        "kind": secret.kind.value,
        "owner": secret.owner,
        "expire_time": secret.expire_time.isoformat() if secret.expire_time else "",
        "rotate_time": secret.rotate_time.isoformat() if secret.rotate_time else "",
    }
    return {name: text for name, text in labels.items() if text}
