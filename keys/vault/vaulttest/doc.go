// Package vaulttest gives a test a real Vault server.
//
// The server is found in this order: VAULT_ADDR with VAULT_TOKEN (a token that
// may mount and write policies), a "vault" or "bao" program on PATH, else the
// server of deploy/vaultdev, which is built once into the user's cache directory
// under the hash of its go.sum. That build takes some minutes and downloads
// 2.7 GB of Go modules; afterwards nothing is downloaded. "make test" builds it
// before the tests.
//
// A test that cannot get a server fails where CI=true and is skipped elsewhere.
//
// [New] shares one server among the tests of a binary: each takes mounts of its
// own by [Server.Place]. [Private] is a server for tests that seal it or give it
// quotas. A server started here ends with the process that started it, however
// that ends.
//
// [Proxy] stands between a client and a server and loses replies, delays or
// changes requests. It answers nothing itself: what a client sees comes from the
// real server or is a broken connection.
package vaulttest
