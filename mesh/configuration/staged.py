"""Who is within the share of a gradual roll-out. The contract (`StagedValue` in watch.proto) has the formula, so that everybody agrees."""

import hashlib


def within_share(change_id: str, instance: str, share_percent: int) -> bool:
    """Whether an instance uses the staged value of a change already. A larger share keeps whoever was within a smaller one."""
    digest = hashlib.sha256(f"{change_id}/{instance}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < share_percent
