# Reading provider credentials: beside sign.hcl, for a gateway that calls
# payment providers. Latest values only: no list, no metadata, no change.

path "citygate-kv/data/+/+" {
  capabilities = ["read"]
}

# The gateway refuses a store that does not ask for check-and-set.
path "citygate-kv/config" {
  capabilities = ["read"]
}
