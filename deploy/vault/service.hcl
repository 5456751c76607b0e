# What every service with `vault = true` in services/registry.toml may do. Words in double braces are filled in by set-up; `vivesphere vault
# policy SERVICE` prints the outcome. A file <service>.hcl beside this one adds what only that service may do.

path "{{transit_mount}}/encrypt/{{service}}" {
  capabilities = ["update"]
}

path "{{transit_mount}}/decrypt/{{service}}" {
  capabilities = ["update"]
}

# Metadata of the key: versions, never key material.
path "{{transit_mount}}/keys/{{service}}" {
  capabilities = ["read"]
}
