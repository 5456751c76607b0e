# What every service with `vault = true` in services/registry.toml may do. {{service}} is its name with dashes.
# A file <service>.hcl beside this one adds what only that service may do.

path "vivesphere-transit/encrypt/{{service}}" {
  capabilities = ["update"]
}

path "vivesphere-transit/decrypt/{{service}}" {
  capabilities = ["update"]
}

path "vivesphere-transit/rewrap/{{service}}" {
  capabilities = ["update"]
}

# Metadata of the key (versions, never key material): the health check reads it.
path "vivesphere-transit/keys/{{service}}" {
  capabilities = ["read"]
}
