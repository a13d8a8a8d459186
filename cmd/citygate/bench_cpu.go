package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// selfCPU gives the CPU time of this process so far, and the most memory it
// ever had, in bytes.
func selfCPU() (cpu time.Duration, peak int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	peak = u.Maxrss
	if runtime.GOOS == "linux" {
		peak *= 1024
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), peak
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux there is.
const clockTick = 10 * time.Millisecond

// postgresCPU gives the CPU time of the private server of a data directory: the
// postmaster, the processes it has, and those it had. Where there is no /proc it
// is 0.
func postgresCPU(data string) time.Duration {
	raw, err := os.ReadFile(filepath.Join(data, "postgresql", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	master, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	own, ok := readStat(master)
	if !ok {
		return 0
	}
	ticks := own.own + own.waited
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if child, ok := readStat(pid); ok && child.parent == master {
			ticks += child.own + child.waited
		}
	}
	return time.Duration(ticks) * clockTick
}

// A procStat is what counts of /proc/PID/stat: CPU of the process, and of
// children it has waited for, in ticks.
type procStat struct {
	parent      int
	own, waited int64
}

func readStat(pid int) (procStat, bool) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, false
	}
	// The name, in parentheses, may hold anything: what follows the last one is
	// state, parent and so on.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	const parent, user, system, waitedUser, waitedSystem = 1, 11, 12, 13, 14
	if len(fields) <= waitedSystem {
		return procStat{}, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n
	}
	return procStat{int(number(parent)), number(user) + number(system), number(waitedUser) + number(waitedSystem)}, true
}
