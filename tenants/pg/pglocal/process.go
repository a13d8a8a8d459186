package pglocal

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A process is a running postmaster and, once done is closed, how it ended.
type process struct {
	pid  int
	os   *os.Process // knows when the number is no longer ours to signal
	done chan struct{}
	err  error // read after done
}

// launch starts cmd and waits for it on a thread of its own: the signal that
// ends an orphan is tied to the life of the thread that forked it, not to the
// life of this process.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the server
		err := cmd.Start()
		if err == nil {
			p.pid, p.os = cmd.Process.Pid, cmd.Process
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) signal(sig syscall.Signal) { _ = p.os.Signal(sig) }

// exited reports whether the process has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// alive reports whether pid exists and is more than an entry waiting to be
// reaped.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		// Gone between the two looks, or a system without /proc.
		return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	_, state, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
	return !strings.HasPrefix(state, "Z")
}

// children gives the processes forked by pid. Without /proc it gives none; a
// backend then ends by itself when it notices that its postmaster is gone.
func children(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// "pid (name) state ppid ...", where name may hold anything.
		fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			found = append(found, child)
		}
	}
	return found
}

// workingIn gives the processes whose working directory is dir, which every
// process of a server has in its cluster. ok is false where /proc does not tell.
func workingIn(dir string) (pids []int, ok bool) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, false
	}
	if _, err := os.Readlink("/proc/self/cwd"); err != nil {
		return nil, false
	}
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well-formed
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || cwd != real {
			continue // of another user, gone, or elsewhere
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// orphan gives the postmaster that runs on the cluster without belonging to
// this process: its parent was killed and it is shutting down, or should be.
//
// After a crash and a restart of the machine the number in postmaster.pid may
// belong to another program of the same user, and PostgreSQL then refuses to
// start. The lock we hold and the absence of any process in the cluster show
// that the file is stale, and only then is it removed.
func orphan(cluster string) (pid int, ok bool) {
	file := filepath.Join(cluster, "postmaster.pid")
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || !alive(pid) {
		return 0, false
	}
	in, known := workingIn(cluster)
	switch {
	case !known || slices.Contains(in, pid):
		return pid, true
	case len(in) == 0:
		_ = os.Remove(file)
	}
	return 0, false
}
