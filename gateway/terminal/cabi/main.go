// Command cabi is the terminal SDK as a shared library with a C interface, for
// validators that are not written in Go:
//
//	go build -buildmode=c-shared -o libcitygate_terminal.so ./gateway/terminal/cabi
//
// citygate_terminal.h is the contract; example/ holds two programs that use it.
// The library needs a C compiler to build; without one this package is an empty
// program.
//
// A panic never reaches the host: it is reported as the error abi.panic, and the
// gate stays shut.
package main

func main() {}
