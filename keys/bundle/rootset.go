package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
)

// Bounds of root sets. Three roots of which two sign is the usual set: one can
// be lost and one can be stolen. A threshold is always more than half, so that
// no two groups of signers have nobody in common and none can fork in secret.
const (
	RootsMin      = 3
	RootsMax      = 8
	ThresholdMin  = 2
	RootSetsMax   = 16 // rotations a bundle carries; a terminal that missed more is enrolled again
	SignaturesMax = 2 * RootsMax
)

// A RootKey is a platform root key: Ed25519, 32 bytes.
type RootKey struct {
	Public []byte
}

// A RootSet says who signs bundles from now on. A rotation is the next set,
// signed by the threshold of the set before AND by its own. Bundles carry the
// sets so far, so a terminal that was away for several rotations follows them
// from the one bundle it is given, without a network.
type RootSet struct {
	Version   uint64 // from 1, each set one more than the set before
	Issued    int64  // unix seconds
	Prev      [32]byte
	Threshold uint8
	Roots     []RootKey

	m *message // nil: not signed yet
}

// Raw gives the signed bytes, nil if nobody signed yet.
func (s *RootSet) Raw() []byte {
	if s.m == nil {
		return nil
	}
	return s.m.raw
}

// Signers names the roots whose signatures are there, checked or not.
func (s *RootSet) Signers() [][8]byte {
	if s.m == nil {
		return nil
	}
	return slices.Clone(s.m.signers)
}

// Digest is the SHA-256 of what the set says: Prev of the next one.
func (s *RootSet) Digest() [32]byte {
	raw, err := s.encode()
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(raw)
}

// Prepare gives the set in canonical order as the bytes that roots are to sign
// by [Cosign].
func (s RootSet) Prepare() ([]byte, error) {
	s.Roots = slices.Clone(s.Roots)
	slices.SortFunc(s.Roots, compareRoots)
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.encode()
}

func (s *RootSet) encode() ([]byte, error) {
	w := wireRoots{Format: rootsFormat, Version: s.Version, Issued: s.Issued, Prev: s.Prev, Threshold: s.Threshold, Roots: make([][]byte, len(s.Roots))}
	for i, r := range s.Roots {
		w.Roots[i] = r.Public
	}
	return encoder.Marshal(w)
}

func (s *RootSet) check() error {
	switch {
	case s.Version == 0 || s.Issued <= 0 || (s.Version == 1) != (s.Prev == [32]byte{}):
		return ErrMalformed.Explain("root set %d: version, time or the set before is out of bounds", s.Version)
	case len(s.Roots) < RootsMin || len(s.Roots) > RootsMax:
		return ErrMalformed.Explain("root set %d has %d roots: want %d to %d", s.Version, len(s.Roots), RootsMin, RootsMax)
	case s.Threshold < ThresholdMin || 2*int(s.Threshold) <= len(s.Roots) || int(s.Threshold) > len(s.Roots):
		return ErrMalformed.Explain("root set %d: threshold %d of %d roots: want at least %d and more than half", s.Version, s.Threshold, len(s.Roots), ThresholdMin)
	case !ascending(s.Roots, compareRoots):
		return ErrMalformed.Explain("root set %d: a root is listed twice or out of order", s.Version)
	}
	seen := map[[8]byte]bool{}
	for _, r := range s.Roots {
		if len(r.Public) != ed25519.PublicKeySize || seen[r.ID()] {
			return ErrMalformed.Explain("root set %d: a root key is not Ed25519 or not told apart from another", s.Version)
		}
		seen[r.ID()] = true
	}
	return nil
}

// InspectRoots reads a root set, signed or only prepared, without checking a
// signature.
func InspectRoots(raw []byte) (RootSet, error) {
	content, m := raw, (*message)(nil)
	if signed(raw) {
		var err error
		if m, err = readMessage(raw, rootsKind); err != nil {
			return RootSet{}, err
		}
		content = m.cose.Payload
	}
	var w wireRoots
	if err := decoder.Unmarshal(content, &w); err != nil {
		return RootSet{}, ErrMalformed.Because(err, "root set")
	}
	s := RootSet{Version: w.Version, Issued: w.Issued, Prev: w.Prev, Threshold: w.Threshold, m: m}
	for _, public := range w.Roots {
		s.Roots = append(s.Roots, RootKey{public})
	}
	if again, err := s.encode(); err != nil || w.Format != rootsFormat || !bytes.Equal(again, content) {
		return RootSet{}, ErrMalformed.Because(err, "root set is not canonical")
	}
	return s, s.check()
}

// OpenRoots reads a chain of root sets, oldest first, and gives the newest.
// Every set after the first is signed by the threshold of the one before and
// by its own, the first by its own: whether the first is to be trusted is the
// caller's knowledge.
func OpenRoots(chain [][]byte) (RootSet, error) {
	sets, err := openChain(chain)
	if err != nil {
		return RootSet{}, err
	}
	return sets[len(sets)-1], nil
}

func openChain(chain [][]byte) ([]RootSet, error) {
	if len(chain) == 0 || len(chain) > RootSetsMax {
		return nil, ErrMalformed.Explain("%d root sets: want 1 to %d", len(chain), RootSetsMax)
	}
	sets := make([]RootSet, len(chain))
	for i, raw := range chain {
		s, err := InspectRoots(raw)
		if err != nil {
			return nil, err
		}
		var before *RootSet
		if i > 0 {
			before = &sets[i-1]
		}
		if err := s.follows(before); err != nil {
			return nil, err
		}
		sets[i] = s
	}
	return sets, nil
}

// follows checks the signatures of s as the set after before; nil: as the first
// that is looked at.
func (s *RootSet) follows(before *RootSet) error {
	if s.m == nil {
		return ErrUnderThreshold.Explain("nobody signed root set %d", s.Version)
	}
	m, allowed := s.m, s.Roots
	switch {
	case before != nil:
		if s.Version != before.Version+1 || s.Prev != before.Digest() {
			return ErrForked.Explain("root set %d does not follow root set %d", s.Version, before.Version)
		}
		allowed = append(slices.Clone(before.Roots), s.Roots...)
	case s.Version > 1:
		// Roots of the set before signed as well. Those that are out by now are
		// not known here, so only the others can be checked.
		m = m.only(s.Roots)
	}
	if err := m.check(allowed); err != nil {
		return err
	}
	if before != nil && m.count(before.Roots) < int(before.Threshold) {
		return ErrUnderThreshold.Explain("root set %d: %d roots of set %d signed, %d are needed", s.Version, m.count(before.Roots), before.Version, before.Threshold)
	}
	if n := m.count(s.Roots); n < int(s.Threshold) {
		return ErrUnderThreshold.Explain("root set %d: %d of its own roots signed, %d are needed", s.Version, n, s.Threshold)
	}
	return nil
}

// same reports whether s is the set that a terminal was enrolled with.
func (s *RootSet) same(roots []RootKey, threshold int) bool {
	sorted := slices.SortedFunc(slices.Values(roots), compareRoots)
	return int(s.Threshold) == threshold && slices.EqualFunc(s.Roots, sorted, func(a, b RootKey) bool { return bytes.Equal(a.Public, b.Public) })
}

// NextRoots gives the set that would follow before with these roots; before nil
// gives the first. It is not signed.
func NextRoots(before *RootSet, issued int64, threshold int, roots ...RootKey) (RootSet, error) {
	if threshold < 0 || threshold > RootsMax {
		return RootSet{}, ErrMalformed.Explain("threshold %d", threshold)
	}
	s := RootSet{Version: 1, Issued: issued, Threshold: uint8(threshold), Roots: slices.SortedFunc(slices.Values(roots), compareRoots)}
	if before != nil {
		s.Version, s.Prev = before.Version+1, before.Digest()
		if issued < before.Issued {
			return RootSet{}, ErrMalformed.Explain("root set %d would be older than the set it follows; check the clock", s.Version)
		}
	}
	return s, s.check()
}

// Cosign adds the signatures of signers to a prepared or partly signed bundle
// or root set and gives the signed bytes. Whether enough signed, and the right
// ones, is for [Open] and [OpenRoots] to say.
func Cosign(raw []byte, signers ...RootSigner) ([]byte, error) {
	if len(signers) == 0 {
		return nil, ErrUnderThreshold.Explain("no root was named to sign")
	}
	k, content, m, err := readDraft(raw)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return seal(content, k, nil, nil, signers)
	}
	return seal(content, k, m.cose.Signatures, m.signers, signers)
}

// Merge unites the signatures of several copies of one bundle or root set, each
// signed by somebody else. Copies that say different things are refused.
func Merge(raws ...[]byte) ([]byte, error) {
	var all message
	var content []byte
	signatures := newMessage(nil, "")
	for i, raw := range raws {
		k, c, m, err := readDraft(raw)
		if err != nil {
			return nil, err
		}
		if i > 0 && (k != all.kind || !bytes.Equal(c, content)) {
			return nil, ErrForked.Explain("the files to unite say different things; sign copies of one file")
		}
		all.kind, content = k, c
		if m == nil {
			continue
		}
		for j, id := range m.signers {
			at := slices.Index(all.signers, id)
			if at < 0 {
				all.signers, signatures.Signatures = append(all.signers, id), append(signatures.Signatures, m.cose.Signatures[j])
			} else if !bytes.Equal(signatures.Signatures[at].Signature, m.cose.Signatures[j].Signature) {
				return nil, ErrTampered.Explain("two signatures of root %x differ", id)
			}
		}
	}
	if len(all.signers) == 0 {
		return content, nil
	}
	return seal(content, all.kind, signatures.Signatures, all.signers, nil)
}

// readDraft reads a bundle or root set, signed or not; m is nil if it is not.
func readDraft(raw []byte) (k kind, content []byte, m *message, err error) {
	_, _, notBundle := Inspect(raw)
	_, notRoots := InspectRoots(raw)
	switch {
	case notBundle == nil:
		k = bundleKind
	case notRoots == nil:
		k = rootsKind
	default:
		return "", nil, nil, fmt.Errorf("neither bundle nor root set: %w", notBundle)
	}
	if !signed(raw) {
		return k, raw, nil, nil
	}
	m, err = readMessage(raw, k)
	if err != nil {
		return "", nil, nil, err
	}
	return k, m.cose.Payload, m, nil
}
