// Package ts holds the TypeScript verifier of CT1 codes; README.md beside this
// file is its manual. The package has no Go code: its test installs what the
// folder's lockfile names, once per lockfile, and runs the verifier's own tests
// and the read-back of the published pictures in Node.
package ts
