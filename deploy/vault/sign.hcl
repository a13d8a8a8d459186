# The identity that signs: the gateway. It signs with keys that are there and
# reads their public halves. It makes, rotates, exports and deletes nothing.
# Mount names: see README.md beside this file.

path "citygate-transit/sign/+" {
  capabilities = ["update"]
  # Only what keys/vault sends: no other hash, no salt, no context.
  allowed_parameters = {
    "batch_input"          = []
    "key_version"          = []
    "prehashed"            = []
    "hash_algorithm"       = ["sha2-256"]
    "signature_algorithm"  = ["pkcs1v15"]
    "marshaling_algorithm" = ["asn1"]
  }
  required_parameters = ["batch_input", "key_version"]
}

# Versions and public keys. Private keys of this mount are not exportable, and
# the gateway refuses one that is.
path "citygate-transit/keys/+" {
  capabilities = ["read"]
}

# Said aloud, so that no other policy of the same token can give them.
path "citygate-transit/sign/+/+" { capabilities = ["deny"] }
path "citygate-transit/keys/+/+" { capabilities = ["deny"] }
path "citygate-transit/export/*" { capabilities = ["deny"] }
path "citygate-transit/byok-export/*" { capabilities = ["deny"] }
path "citygate-transit/backup/*" { capabilities = ["deny"] }
path "citygate-transit/restore" { capabilities = ["deny"] }
path "citygate-transit/restore/*" { capabilities = ["deny"] }
