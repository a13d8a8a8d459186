//go:build cgo

package main

// #define CITYGATE_BUILDING_LIBRARY
// #include "citygate_terminal.h"
//
// static int32_t call_sign(citygate_sign sign, void *user, const uint8_t *message, size_t length, uint8_t *signature) {
//   return sign(user, message, length, signature);
// }
import "C"

import "unsafe"

// signer gives the host's signature function in Go. user is a pointer of C that
// Go only hands back.
func signer(sign C.citygate_sign, user unsafe.Pointer) func([]byte) ([]byte, error) {
	return func(message []byte) ([]byte, error) {
		signature := make([]byte, 64)
		if status := C.call_sign(sign, user, (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(message))), C.size_t(len(message)),
			(*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(signature)))); status != 0 {
			return nil, errSign.Explain("it gave %d", int(status))
		}
		return signature, nil
	}
}
