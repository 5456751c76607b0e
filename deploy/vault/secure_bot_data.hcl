# Bot credentials: only this service reads and writes them. Nothing outside `bots/` can be named.

path "vivesphere-kv/data/bots/*" {
  capabilities = ["create", "read", "update", "delete"]
}

path "vivesphere-kv/metadata/bots/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "vivesphere-kv/delete/bots/*" {
  capabilities = ["update"]
}

path "vivesphere-kv/undelete/bots/*" {
  capabilities = ["update"]
}

path "vivesphere-kv/destroy/bots/*" {
  capabilities = ["update"]
}

# The key that binds a ciphertext to its bot: derived, so every call must bring the bot's context.
path "vivesphere-transit/encrypt/bot-secrets" {
  capabilities = ["update"]
}

path "vivesphere-transit/decrypt/bot-secrets" {
  capabilities = ["update"]
}

path "vivesphere-transit/rewrap/bot-secrets" {
  capabilities = ["update"]
}

path "vivesphere-transit/keys/bot-secrets" {
  capabilities = ["read"]
}

# The key of values that other services keep themselves: derived, so every call brings the identity of the service it is made for.
path "vivesphere-transit/encrypt/service-values" {
  capabilities = ["update"]
}

path "vivesphere-transit/decrypt/service-values" {
  capabilities = ["update"]
}
