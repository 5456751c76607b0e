# Bot credentials: only this service reads and writes them. Nothing outside `{{kv_prefix}}/` can be named.

path "{{kv_mount}}/data/{{kv_prefix}}/*" {
  capabilities = ["create", "read", "update", "delete"]
}

path "{{kv_mount}}/metadata/{{kv_prefix}}/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "{{kv_mount}}/delete/{{kv_prefix}}/*" {
  capabilities = ["update"]
}

path "{{kv_mount}}/undelete/{{kv_prefix}}/*" {
  capabilities = ["update"]
}

path "{{kv_mount}}/destroy/{{kv_prefix}}/*" {
  capabilities = ["update"]
}

# The key that binds a ciphertext to its bot: derived, so every call must bring the bot's context.
path "{{transit_mount}}/encrypt/bot-secrets" {
  capabilities = ["update"]
}

path "{{transit_mount}}/decrypt/bot-secrets" {
  capabilities = ["update"]
}

path "{{transit_mount}}/keys/bot-secrets" {
  capabilities = ["read"]
}

path "{{transit_mount}}/keys/bot-secrets/rotate" {
  capabilities = ["update"]
}

# Old versions of the key are retired by this one number. Nothing else of the key can be changed, so it can be neither exported nor deleted.
path "{{transit_mount}}/keys/bot-secrets/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
  }
}

# The key for values that other services have encrypted here: derived too, by the caller's identity.
path "{{transit_mount}}/encrypt/service-values" {
  capabilities = ["update"]
}

path "{{transit_mount}}/decrypt/service-values" {
  capabilities = ["update"]
}
