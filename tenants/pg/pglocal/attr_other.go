//go:build unix && !linux

package pglocal

import "syscall"

// attributes runs the server as id, out of reach of the terminal's interrupt.
func (id identity) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if id.switched {
		a.Credential = &syscall.Credential{Uid: id.uid, Gid: id.gid}
	}
	return a
}
