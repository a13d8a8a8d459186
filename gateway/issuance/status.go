package issuance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
)

// The refusals that have to do with revocation lists.
var (
	ErrRevoked    = &citygate.Code{Name: "device.attestation_revoked", Kind: citygate.Forbidden, Title: "A certificate of the attestation was revoked or suspended by the maker. Register without it, or use another device."}
	ErrStatus     = &citygate.Code{Name: "device.attestation_status", Kind: citygate.Unavailable, Title: "The policy takes attestations only against a fresh revocation list, and there is none. The platform must renew it (serve --attestation-status)."}
	ErrStatusList = &citygate.Code{Name: "issuance.status_list", Kind: citygate.Invalid, Title: "The revocation list cannot be used. Fetch it again."}
)

// An Entry is what a status list says of a certificate.
type Entry struct {
	Status  string // REVOKED for good or SUSPENDED for now
	Reason  string // empty = not said
	Expires string // day on which the certificate ends, as YYYY-MM-DD; an entry counts after it too
	Comment string
}

// A StatusList is the list of Android attestation certificates that are not valid
// any more, by serial number in lower-case hexadecimal without leading zeros.
type StatusList map[string]Entry

var (
	serialForm = regexp.MustCompile(`^[a-f1-9][a-f0-9]*$`)
	statuses   = []string{"REVOKED", "SUSPENDED"}
	reasons    = []string{"UNSPECIFIED", "KEY_COMPROMISE", "CA_COMPROMISE", "SUPERSEDED", "SOFTWARE_FLAW"}
)

// commentMax is in characters.
const commentMax = 140

// ParseStatusList reads a list as Google publishes it for Android key attestation.
// It takes nothing that the published JSON schema does not have, no name twice and
// nothing behind the list. Source: Android developers, "Verify hardware-backed key
// pairs with key attestation", certificate revocation status list.
func ParseStatusList(raw []byte) (StatusList, error) {
	if !utf8.Valid(raw) {
		return nil, ErrStatusList.Explain("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	var list StatusList
	err := object(d, func(name string) error {
		if name != "entries" {
			return fmt.Errorf("a field %q beside entries", name)
		}
		list = StatusList{}
		return object(d, func(serial string) error {
			if !serialForm.MatchString(serial) {
				return fmt.Errorf("%q is no serial number in lower-case hexadecimal without leading zeros", serial)
			}
			e, err := entry(d)
			if err != nil {
				return fmt.Errorf("serial %s: %w", serial, err)
			}
			list[serial] = e
			return nil
		})
	})
	if err == nil && list == nil {
		err = errors.New("it has no entries")
	}
	if err == nil {
		if _, behind := d.Token(); !errors.Is(behind, io.EOF) {
			err = errors.New("something comes behind it")
		}
	}
	if err != nil {
		return nil, ErrStatusList.Because(err, "%v", err)
	}
	return list, nil
}

// object reads an object whose values field reads. Package json would take a name
// twice, and in other letters.
func object(d *json.Decoder, field func(name string) error) error {
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return fmt.Errorf("%v, want an object", t)
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok || seen[name] {
			return fmt.Errorf("%v is there twice", t)
		}
		seen[name] = true
		if err := field(name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func entry(d *json.Decoder) (e Entry, err error) {
	err = object(d, func(name string) error {
		t, err := d.Token()
		if err != nil {
			return err
		}
		text, ok := t.(string)
		switch {
		case !ok:
			return fmt.Errorf("%s is no text", name)
		case name == "status" && slices.Contains(statuses, text):
			e.Status = text
		case name == "reason" && slices.Contains(reasons, text):
			e.Reason = text
		case name == "comment" && utf8.RuneCountInString(text) <= commentMax:
			e.Comment = text
		case name == "expires":
			e.Expires = text
			_, err = time.Parse(time.DateOnly, text)
			return err
		default:
			return fmt.Errorf("%s may not be %.40q", name, text)
		}
		return nil
	})
	if err == nil && e.Status == "" {
		err = errors.New("it has no status")
	}
	return e, err
}

// A Revocation says what an attestation was held against.
type Revocation string

// The revocations.
const (
	Fresh  Revocation = "fresh"   // a list that is not older than it may be
	Stale  Revocation = "stale"   // a list that is older
	NoList Revocation = "no_list" // none
)

// DefaultStatusAge is how old a status list may be: two days of a list that is to
// be fetched daily.
const DefaultStatusAge = 48 * time.Hour

// clockSlack is how far ahead of ours the clock may be that says when a list was
// fetched.
const clockSlack = 5 * time.Minute

// A Statuses keeps the status list that a program was given last. The zero value
// and nil have none. Safe for concurrent use.
type Statuses struct {
	MaxAge time.Duration // 0 = [DefaultStatusAge]

	mu   sync.RWMutex
	list StatusList
	at   time.Time
}

// Put takes a list that was fetched at at, and gives the number of its entries. A
// list that cannot be read changes nothing: the one before counts on and gets old.
func (s *Statuses) Put(raw []byte, at time.Time) (entries int, err error) {
	list, err := ParseStatusList(raw)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.at = list, at
	return len(list), nil
}

// State says how good the list is at now. A list of the future is stale: nobody
// knows how old it is.
func (s *Statuses) State(now time.Time) Revocation {
	if s == nil {
		return NoList
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	limit := s.MaxAge
	if limit == 0 {
		limit = DefaultStatusAge
	}
	switch age := now.Sub(s.at); {
	case s.list == nil:
		return NoList
	case age > limit, age < -clockSlack:
		return Stale
	}
	return Fresh
}

// Check refuses certificates of which one is on the list, however old that is.
func (s *Statuses) Check(serials []string) error {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, serial := range serials {
		if e, bad := s.list[serial]; bad {
			return ErrRevoked.Explain("serial %s: %s %s", serial, e.Status, e.Reason)
		}
	}
	return nil
}
