package pglocal

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// socketMax keeps the socket's whole path below the limit of the operating
// systems (104 to 108 bytes).
const socketMax = 100

// socketName is what PostgreSQL calls its socket on port 5432.
const socketName = ".s.PGSQL.5432"

// A portFile tells other processes where the server of a data directory is.
type portFile struct {
	Socket string `json:"socket"` // directory of the socket
	PID    int    `json:"pid"`    // of the postmaster
}

func (s *Server) portFile() string { return filepath.Join(s.config.DataDir, "postgresql.json") }
func (s *Server) lockFile() string { return filepath.Join(s.config.DataDir, "postgresql.lock") }

// makeSocketDir makes a private directory short enough for a socket: in the
// data directory, or in /tmp when that lies too deep.
func (s *Server) makeSocketDir() error {
	s.socket = filepath.Join(s.config.DataDir, "run")
	if len(s.socket)+1+len(socketName) > socketMax {
		dir, err := os.MkdirTemp("/tmp", "citygate-")
		if err != nil {
			return err
		}
		s.socket, s.ownsSock = dir, true
	}
	return s.id.own(s.socket)
}

func (s *Server) writePortFile() error {
	raw, err := json.Marshal(portFile{Socket: s.socket, PID: s.proc.pid})
	if err != nil {
		return err
	}
	fresh := s.portFile() + ".new"
	if err := os.WriteFile(fresh, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, s.portFile())
}

// lockOrAttach takes the directory's lock, which the kernel frees when its
// holder dies, or finds the server of the process that has it.
func (s *Server) lockOrAttach(ctx context.Context) (attached bool, err error) {
	lock, err := os.OpenFile(s.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			s.lock = lock
			return false, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return false, errors.Join(err, lock.Close())
		}
		if s.attach(ctx) {
			return true, lock.Close()
		}
		// The holder is starting or stopping its server: its port file is about
		// to come, or its lock to go.
		select {
		case <-ctx.Done():
			_ = lock.Close()
			return false, ErrBusy.Because(ctx.Err(), "%s", s.config.DataDir)
		case <-tick.C:
		}
	}
}

func (s *Server) attach(ctx context.Context) bool {
	raw, err := os.ReadFile(s.portFile())
	if err != nil {
		return false
	}
	var port portFile
	if json.Unmarshal(raw, &port) != nil {
		return false
	}
	s.socket = port.Socket
	return s.ping(ctx) == nil
}

// AwaitStopped waits until no server runs on a data directory, for whoever wants
// to remove it after its process died.
func AwaitStopped(ctx context.Context, dataDir string) error {
	pid, ok := orphan(filepath.Join(dataDir, "postgresql"))
	if !ok {
		return nil
	}
	return awaitEnd(ctx, pid)
}
