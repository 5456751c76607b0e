# The key that signs checkpoints of the audit chain. It can sign and show its public half; it can be neither exported, changed nor deleted.

path "{{transit_mount}}/sign/audit-chain" {
  capabilities = ["update"]
}

path "{{transit_mount}}/keys/audit-chain" {
  capabilities = ["read"]
}
