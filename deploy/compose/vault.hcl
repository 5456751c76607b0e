# The Vault of docker-compose.yml: one node, TLS with the mesh's certificate. It starts sealed with Shamir's seal; the set-up
# job initialises it once and unseals it after each start with the key it keeps. For production give it a `seal` that opens
# by itself: docs/deployment.md.

disable_mlock = true # needs a capability the container does not have; do not let the host swap
ui            = false
log_level     = "warn"
api_addr      = "https://vault:8200"
cluster_addr  = "https://vault:8201"

storage "raft" {
  path    = "/engines/vault"
  node_id = "vault"

  performance_multiplier = 1 # elect the only node in a second rather than in five; also the advice for production

  max_entry_size = 8388608 # a secret of 2 MiB, encrypted and in base64, is more than raft's default of 1 MiB
}

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/identity/tls.crt"
  tls_key_file    = "/identity/tls.key"
  tls_min_version = "tls13"
}
