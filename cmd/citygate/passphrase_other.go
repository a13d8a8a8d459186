//go:build !linux

package main

import "os"

// hideTyping does nothing here: what is typed shows. Use --passphrase-file.
func hideTyping(*os.File) (restore func()) { return func() {} }
