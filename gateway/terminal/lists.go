package terminal

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

// ErrNoTrust says that a list came before any bundle.
var ErrNoTrust = &citygate.Code{Name: "terminal.no_trust", Kind: citygate.Conflict, Title: "The terminal holds no trust bundle; install one first."}

// ErrNoList says that a delta came for a list the terminal does not hold.
var ErrNoList = &citygate.Code{Name: "terminal.no_list", Kind: citygate.Conflict, Title: "The terminal does not hold the deny list the delta is for; install the snapshot."}

const (
	listPrefix = "deny-"
	beatPrefix = "beat-"
)

// A listID names a deny list: an issuer's list number.
type listID struct {
	issuer citygate.Issuer
	list   uint16
}

func (id listID) object() string { return fmt.Sprintf("%s%d-%d", listPrefix, id.issuer, id.list) }

func beatObject(issuer citygate.Issuer) string { return fmt.Sprintf("%s%d", beatPrefix, issuer) }

func (t *trust) restoreLists() error {
	names, err := t.files.List()
	if err != nil {
		return fmt.Errorf("open deny lists: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		object, slot, ok := strings.Cut(name, ".")
		isList, isBeat := strings.HasPrefix(object, listPrefix), strings.HasPrefix(object, beatPrefix)
		if !ok || !isList && !isBeat || slot != "a" && slot != "b" {
			continue
		}
		raw, err := t.files.ReadFile(name)
		if err != nil {
			return fmt.Errorf("open deny lists: %w", err)
		}
		if isList {
			t.restoreList(object, "."+slot, raw)
		} else if h, err := denylist.OpenHeartbeat(raw, t.beatKey); err == nil {
			if old := t.beats[h.Issuer]; old == nil || old.At < h.At {
				t.beats[h.Issuer], t.slots[object] = h, "."+slot
			}
		}
	}
	return nil
}

// restoreList takes a list back from the terminal's own disk. A torn one is
// nothing. Of one whose key was revoked since, the sequence number stays: there is
// no list then, and the stale rule decides, but an older one must not come back.
func (t *trust) restoreList(object, slot string, raw []byte) {
	l, err := denylist.Restore(raw, t.denyKey)
	if err != nil {
		if l, err = denylist.RestoreUnproven(raw); err == nil {
			id := listID{l.Issuer, l.List}
			t.floors[id] = max(t.floors[id], l.Seq)
		}
		return
	}
	id := listID{l.Issuer, l.List}
	if old := t.lists[id]; old == nil || old.Seq < l.Seq {
		t.lists[id], t.slots[object] = l, slot
	}
}

func (t *trust) denyKey(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
	key, refused := t.bundle.DenyKey(issuer, kid)
	ed, ok := key.(ed25519.PublicKey)
	return ed, ok && refused == ""
}

func (t *trust) beatKey(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
	key, refused := t.bundle.HeartbeatKey(issuer, kid)
	ed, ok := key.(ed25519.PublicKey)
	return ed, ok && refused == ""
}

// InstallList verifies a deny list snapshot and then uses it. One that is past
// its time, or has a lower sequence number than the one held, one held before or
// the bundle asks for, is refused. The same list again does nothing.
func (v *Verifier) InstallList(now int64, raw []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trust.bundle == nil {
		return ErrNoTrust
	}
	l, err := denylist.Open(raw, v.trust.denyKey)
	if err != nil {
		return fmt.Errorf("install deny list: %w", err)
	}
	held := v.trust.lists[listID{l.Issuer, l.List}]
	if held != nil && held.Seq == l.Seq && held.Hash() == l.Hash() {
		return nil // also when a delta made the one held
	}
	return v.useList(now, l, held)
}

// InstallDelta verifies a delta, applies it to the list held and uses the result,
// which is what the issuer signed or is refused. The list held stays in use until
// then, and in its slot until the new one is on disk. The same delta again does
// nothing.
func (v *Verifier) InstallDelta(now int64, raw []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trust.bundle == nil {
		return ErrNoTrust
	}
	d, err := denylist.OpenDelta(raw, v.trust.denyKey)
	if err != nil {
		return fmt.Errorf("install delta: %w", err)
	}
	held := v.trust.lists[listID{d.Issuer, d.List}]
	if held == nil {
		return ErrNoList.Explain("list %d of issuer %d", d.List, d.Issuer)
	}
	if held.Seq == d.Seq && held.Hash() == d.Hash() {
		return nil
	}
	l, err := d.Apply(held)
	if err != nil {
		return fmt.Errorf("install delta: %w", err)
	}
	return v.useList(now, l, held)
}

// useList puts a verified list in the place of held, nil = none.
func (v *Verifier) useList(now int64, l, held *denylist.List) error {
	t, id := v.trust, listID{l.Issuer, l.List}
	floor := max(t.bundle.DenyFloor(l.Issuer, l.List), t.floors[id])
	at, _ := v.clock.at(now, v.clock.mono)
	if err := l.Replaces(held, l.Issuer, l.List, floor, at/1000); err != nil {
		return fmt.Errorf("install deny list: %w", err)
	}
	if h := t.beats[l.Issuer]; h != nil {
		if b, ok := h.Of(l.List); ok && b.Seq == l.Seq && b.Mark != l.Mark() {
			return denylist.ErrForked.Explain("the heartbeat names another list %d of sequence %d", l.List, l.Seq)
		}
	}
	raw := l.Stored()
	if err := t.write(id.object(), raw); err != nil {
		return err
	}
	t.clear(id.object(), raw)
	t.lists[id] = l
	v.clock.saw(l.BuiltAt * 1000)
	return nil
}

// InstallHeartbeat verifies an issuer's heartbeat and uses it: lists it names are
// known to be the newest at its time, one it does not name goes when it is past its
// own time, and the clock is not earlier. One that contradicts a list held is
// refused, and so is one older than the last; the same again does nothing.
func (v *Verifier) InstallHeartbeat(now int64, raw []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.trust
	if t.bundle == nil {
		return ErrNoTrust
	}
	h, err := denylist.OpenHeartbeat(raw, t.beatKey)
	if err != nil {
		return fmt.Errorf("install heartbeat: %w", err)
	}
	held := t.beats[h.Issuer]
	if held != nil && bytes.Equal(held.Bytes(), raw) {
		return nil
	}
	at, _ := v.clock.at(now, v.clock.mono)
	switch {
	case held != nil && h.At <= held.At:
		return denylist.ErrOlder.Explain("a heartbeat of %d, the one held is of %d", h.At, held.At)
	case at/1000 >= h.ValidUntil:
		return denylist.ErrExpired.Explain("a heartbeat valid until %d", h.ValidUntil)
	}
	for _, b := range h.Beats {
		l := t.lists[listID{h.Issuer, b.List}]
		if l != nil && l.Seq == b.Seq && l.Mark() != b.Mark {
			return denylist.ErrForked.Explain("the heartbeat names another list %d of sequence %d", b.List, b.Seq)
		}
	}
	// Not synced: the next one comes in minutes, and without this one a list is only
	// taken for older than it is.
	if err := t.note(beatObject(h.Issuer), raw); err != nil {
		return err
	}
	t.beats[h.Issuer] = h
	v.clock.saw(h.At * 1000)
	for id, l := range t.lists {
		if _, named := h.Of(id.list); id.issuer == h.Issuer && !named && max(at/1000, h.At) >= l.ValidUntil {
			t.drop(id)
		}
	}
	return nil
}

// drop forgets a list whose last credential has run out.
func (t *trust) drop(id listID) {
	delete(t.lists, id)
	delete(t.slots, id.object())
	for _, slot := range []string{".a", ".b"} {
		_ = t.files.Remove(id.object() + slot) // one that comes back after a crash goes with the next heartbeat
	}
}

// clear empties the slot that does not hold the current one, once that is really
// there: a disk has room for one spare list and not for one of each.
func (t *trust) clear(object string, raw []byte) {
	if written, err := t.files.ReadFile(object + t.slots[object]); err == nil && bytes.Equal(written, raw) {
		_ = t.files.Remove(object + t.free(object)) // an older one that stays is passed over
	}
}

// about gives what is known of the list a rider is in: the one held, or that it
// is empty because the issuer's heartbeat says so.
func (t *trust) about(id listID, seconds int64) (l *denylist.List, seq uint32, known accept.List) {
	l = t.lists[id]
	h, beat := t.beats[id.issuer], denylist.Beat{}
	named := false
	if h != nil {
		beat, named = h.Of(id.list)
	}
	switch {
	case l != nil:
		known = accept.List{Held: true, At: l.BuiltAt, Expired: seconds >= l.ValidUntil}
		if named && beat.Seq == l.Seq { // the same list: installing one of the two checked that
			known.At = max(known.At, h.At)
		}
		return l, l.Seq, known
	case named && beat.Empty():
		return nil, beat.Seq, accept.List{Held: true, At: h.At, Expired: seconds >= h.ValidUntil}
	}
	return nil, 0, accept.List{}
}

// standing looks the rider up; being on a list counts before the list's age.
// No list names a rider of another scheme, who has no index here: what is known
// against him the gateway knows.
func (t *trust) standing(c *code.Code, r *tap.Record, f accept.Facts) code.Reason {
	if c.Account != [32]byte{} {
		return ""
	}
	l, seq, known := t.about(listID{c.Rider.Issuer, c.Rider.List}, r.EventTime/1000)
	if seq != 0 {
		r.ListVersion, r.ListAt = uint64(seq), known.At
	}
	if l != nil {
		if l.Denied(c.Rider.Index) {
			return code.Denied
		}
		if l.NeverIssued(c.Rider.Index, c.IssuedAt) {
			return code.NotIssued
		}
	}
	if h := t.beats[c.Rider.Issuer]; h != nil && h.NeverIssued(c.Rider.List, c.Rider.Index, c.IssuedAt) {
		return code.NotIssued
	}
	return t.rules.Freshness(c, f, known)
}

// A ListStatus names a deny list a terminal holds.
type ListStatus struct {
	Issuer citygate.Issuer
	List   uint16
	Seq    uint32
	At     int64 // unix seconds: when it was last known to be the newest
	Denied int
	Bytes  int // on disk
}

// lists gives what is held, in order.
func (t *trust) status() []ListStatus {
	all := make([]ListStatus, 0, len(t.lists))
	for id, l := range t.lists {
		_, seq, known := t.about(id, 0)
		all = append(all, ListStatus{id.issuer, id.list, seq, known.At, l.Count(), len(l.Stored())})
	}
	slices.SortFunc(all, func(a, b ListStatus) int {
		return citygate.Rider{Issuer: a.Issuer, List: a.List}.Compare(citygate.Rider{Issuer: b.Issuer, List: b.List})
	})
	return all
}

// Install takes any object an issuer publishes for its deny lists: a snapshot, a
// delta or a heartbeat.
func (v *Verifier) Install(now int64, raw []byte) error {
	switch {
	case bytes.HasPrefix(raw, []byte("DL1S")):
		return v.InstallList(now, raw)
	case bytes.HasPrefix(raw, []byte("DL1D")):
		return v.InstallDelta(now, raw)
	case bytes.HasPrefix(raw, []byte("DL2H")):
		return v.InstallHeartbeat(now, raw)
	}
	return denylist.ErrMalformed.Explain("%d bytes that are no object of a deny list", len(raw))
}

// NeedsSnapshot reports whether an error of [Verifier.InstallDelta] is one that the
// list's snapshot cures.
func NeedsSnapshot(err error) bool {
	return errors.Is(err, denylist.ErrForked) || errors.Is(err, denylist.ErrGap) || errors.Is(err, ErrNoList)
}
