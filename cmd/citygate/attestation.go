package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/spf13/cobra"
)

// statusFlags say where the revocation list of attestation certificates lies.
type statusFlags struct {
	file   string
	maxAge time.Duration
}

func (f *statusFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "attestation-status", "", "file of revoked Android attestation certificates, in Google's JSON format; none: attested phones count as vouched only")
	c.Flags().DurationVar(&f.maxAge, "attestation-status-max-age", issuance.DefaultStatusAge, "how old that file may be before attested phones count as vouched only")
}

// statusEvery is how often the file is looked at.
const statusEvery = 5 * time.Second

// statusMax is the largest list that is read.
const statusMax = 64 << 20

// A statusFile keeps the status list of a file.
type statusFile struct {
	statusFlags
	statuses *issuance.Statuses
	clock    citygate.Clock
	log      *slog.Logger

	read  time.Time // modification time of what was read last
	size  int64
	state issuance.Revocation // that was logged last
	fault string              // likewise
}

// open reads the file. A list that is missing or broken stops nobody's taps: it is
// logged, and attestations count for less.
func (f statusFlags) open(sys *system, log *slog.Logger) *statusFile {
	s := &statusFile{statusFlags: f, clock: sys.Now, log: log}
	s.statuses = &issuance.Statuses{MaxAge: f.maxAge}
	s.look()
	return s
}

// watch reads the file when it changes, until ctx ends.
func (s *statusFile) watch(ctx context.Context) {
	if s.file == "" {
		return
	}
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.look()
		}
	}
}

// look reads the file if it changed, and logs what is different from before.
func (s *statusFile) look() {
	if s.file != "" {
		err := s.load()
		if text := fmt.Sprint(err); err != nil && text != s.fault {
			s.log.Error("the revocation list of attestation certificates cannot be read; the one before counts until it is too old", "file", s.file, "error", err)
			s.fault = text
		} else if err == nil {
			s.fault = ""
		}
	}
	state := s.statuses.State(s.clock())
	if state == s.state {
		return
	}
	s.state = state
	switch state {
	case issuance.NoList:
		s.log.Warn("there is no revocation list of attestation certificates: attested phones count as vouched for only; give one by --attestation-status")
	case issuance.Stale:
		s.log.Error("the revocation list of attestation certificates is too old: attested phones count as vouched for only; fetch it again", "file", s.file, "max_age", s.maxAge)
	case issuance.Fresh:
	}
}

func (s *statusFile) load() error {
	file, err := os.Open(s.file)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.ModTime().Equal(s.read) && info.Size() == s.size {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(file, statusMax+1))
	if err != nil {
		return err
	}
	if len(raw) > statusMax {
		return fmt.Errorf("it is larger than %d bytes", statusMax)
	}
	s.read, s.size = info.ModTime(), info.Size() // also of a broken one: it is read again when it changes
	entries, err := s.statuses.Put(raw, info.ModTime())
	if err != nil {
		return err
	}
	s.log.Info("read the revocation list of attestation certificates", "file", s.file, "entries", entries, "fetched", info.ModTime().UTC().Format(time.RFC3339))
	return nil
}
