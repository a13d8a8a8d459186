package terminal_test

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/cashlesscity/citygate/gateway/terminal"
)

var (
	errPower = errors.New("power is gone")
	errFull  = errors.New("no space left on device")
)

// A disk is a directory that keeps apart what was written and what was synced.
// It stops for good before or after its n-th call, and gives what a machine
// would find after the crash.
type disk struct {
	names map[string]*inode // as the running program sees it
	kept  map[string]*inode // names that were made durable

	calls  int
	stopAt int // 0 = never
	after  bool
	dead   bool

	free      int                    // bytes left, negative = no limit
	named     string                 // the name made last
	loseSync  func(name string) bool // this Sync does nothing: a file, or "directory of " and the name made last
	failSync  bool
	tornWrite bool // a write that finds no room leaves a part behind
}

type inode struct{ data, synced []byte }

func newDisk() *disk {
	return &disk{names: map[string]*inode{}, kept: map[string]*inode{}, free: -1}
}

func (d *disk) call(f func() error) error {
	if d.dead {
		return errPower
	}
	d.calls++
	if d.calls == d.stopAt && !d.after {
		d.dead = true
		return errPower
	}
	err := f()
	if d.calls == d.stopAt {
		d.dead = true
		return errPower
	}
	return err
}

func (d *disk) List() (names []string, err error) {
	err = d.call(func() error {
		for n := range d.names {
			names = append(names, n)
		}
		return nil
	})
	return names, err
}

func (d *disk) ReadFile(name string) (data []byte, err error) {
	err = d.call(func() error {
		n, ok := d.names[name]
		if !ok {
			return fs.ErrNotExist
		}
		data = bytes.Clone(n.data)
		return nil
	})
	return data, err
}

func (d *disk) Create(name string) (terminal.File, error) {
	var f *file
	err := d.call(func() error {
		n, ok := d.names[name]
		if !ok {
			n = &inode{}
			d.names[name] = n
		}
		n.data = nil
		d.named = name
		f = &file{d, n, name}
		return nil
	})
	return f, err
}

func (d *disk) Append(name string) (terminal.File, error) {
	var f *file
	err := d.call(func() error {
		n, ok := d.names[name]
		if !ok {
			return fs.ErrNotExist
		}
		f = &file{d, n, name}
		return nil
	})
	return f, err
}

func (d *disk) Rename(from, to string) error {
	return d.call(func() error {
		d.names[to] = d.names[from]
		d.named = to
		delete(d.names, from)
		return nil
	})
}

func (d *disk) Remove(name string) error {
	return d.call(func() error {
		delete(d.names, name)
		return nil
	})
}

func (d *disk) SyncDir() error {
	return d.call(func() error {
		if d.loseSync != nil && d.loseSync("directory of "+d.named) {
			return nil
		}
		d.kept = map[string]*inode{}
		for name, n := range d.names {
			d.kept[name] = n
		}
		return nil
	})
}

type file struct {
	disk *disk
	node *inode
	name string
}

func (f *file) Write(p []byte) (n int, err error) {
	err = f.disk.call(func() error {
		n = len(p)
		if f.disk.free >= 0 && n > f.disk.free {
			n = 0
			if f.disk.tornWrite {
				n = f.disk.free
			}
		}
		f.node.data = append(f.node.data, p[:n]...)
		if f.disk.free >= 0 {
			f.disk.free -= n
		}
		if n < len(p) {
			return errFull
		}
		return nil
	})
	return n, err
}

func (f *file) Truncate(size int64) error {
	return f.disk.call(func() error {
		if f.disk.free >= 0 {
			f.disk.free += len(f.node.data) - int(size)
		}
		f.node.data = bytes.Clone(f.node.data[:size])
		return nil
	})
}

func (f *file) Sync() error {
	return f.disk.call(func() error {
		if f.disk.failSync {
			return errors.New("input/output error")
		}
		if f.disk.loseSync == nil || !f.disk.loseSync(f.name) {
			f.node.synced = bytes.Clone(f.node.data)
		}
		return nil
	})
}

func (f *file) Close() error { return nil }

// The ways a crash may leave a disk. All of them are allowed by POSIX.
const (
	loseAll    = iota // nothing that was not synced is there
	keepAll           // everything is there
	torn              // names lost, half of what was appended and not synced is there
	keepRemove        // as loseAll, but removed names are gone for good
	modes
)

// crash gives the disk that the next boot finds.
func (d *disk) crash(mode int) *disk {
	next := newDisk()
	from := d.kept
	if mode == keepAll {
		from = d.names
	}
	for name, n := range from {
		data := n.synced
		switch {
		case mode == keepAll:
			data = n.data
		case mode == torn && len(n.data) > len(n.synced) && bytes.HasPrefix(n.data, n.synced):
			data = n.data[:(len(n.data)+len(n.synced))/2]
		case mode == keepRemove && d.names[name] == nil:
			continue
		}
		data = bytes.Clone(data)
		next.names[name] = &inode{data, data}
		next.kept[name] = next.names[name]
	}
	return next
}
