package pglocal

import "syscall"

// attributes runs the server as id, out of reach of the terminal's interrupt,
// and has the kernel shut it down (fast, not immediate) when we are gone.
func (id identity) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if id.switched {
		a.Credential = &syscall.Credential{Uid: id.uid, Gid: id.gid}
	}
	return a
}
