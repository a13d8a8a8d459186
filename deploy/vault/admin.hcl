# The identity that administers: makes and rotates keys, stores credentials. It
# signs nothing, exports nothing and reads no credential.

path "citygate-transit/keys/+" {
  capabilities = ["create", "update", "read"]
  # Neither an exportable key nor one of a type that is not ours.
  allowed_parameters = {
    "type" = ["ed25519", "ecdsa-p256", "rsa-2048"]
  }
  required_parameters = ["type"]
}

path "citygate-transit/keys/+/rotate" {
  capabilities = ["update"]
}

# Old versions are put out of use, in both directions only by these two.
path "citygate-transit/keys/+/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
    "min_encryption_version" = []
  }
}

# The store asks for the version that a new value follows (cas_required).
path "citygate-kv/data/+/+" {
  capabilities = ["create", "update"]
}

path "citygate-kv/config" {
  capabilities = ["read"]
}

# Said aloud, so that no other policy of the same token can give them.
path "citygate-transit/sign/*" { capabilities = ["deny"] }
path "citygate-transit/hmac/*" { capabilities = ["deny"] }
path "citygate-transit/export/*" { capabilities = ["deny"] }
path "citygate-transit/byok-export/*" { capabilities = ["deny"] }
path "citygate-transit/backup/*" { capabilities = ["deny"] }
path "citygate-transit/restore" { capabilities = ["deny"] }
path "citygate-transit/restore/*" { capabilities = ["deny"] }
path "citygate-transit/keys/+/trim" { capabilities = ["deny"] }
path "citygate-transit/keys/+/import" { capabilities = ["deny"] }
path "citygate-transit/keys/+/import_version" { capabilities = ["deny"] }
