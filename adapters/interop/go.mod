module github.com/cashlesscity/citygate/adapters/interop

go 1.26
