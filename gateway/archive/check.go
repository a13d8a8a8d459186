package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// A Report says what a check of an export found to be true.
type Report struct {
	Manifest string `json:"manifest_sha256"`
	Files    int    `json:"files"`
	Taps     int    `json:"taps"`     // whose terminal's record has the digest that was acknowledged
	Verified int    `json:"verified"` // accepted ones whose code is proven by exported public keys
	Erased   int    `json:"erased"`   // older than the tenant keeps the rider's part of a tap
	Other    int    `json:"other"`    // accepted ones that no public key proves: Unproven says why

	Schemes  map[code.SchemeID]int `json:"verified_by_scheme,omitempty"`
	Unproven []Unproven            `json:"unproven,omitempty"`
}

// unproven counts a tap that no public key proves.
func (r *Report) unproven(scheme code.SchemeID, why string) {
	r.Other++
	i := slices.IndexFunc(r.Unproven, func(u Unproven) bool { return u.Scheme == scheme && u.Why == why })
	if i < 0 {
		i = len(r.Unproven)
		r.Unproven = append(r.Unproven, Unproven{Scheme: scheme, Why: why})
	}
	r.Unproven[i].Taps++
}

// Check holds every file of an export against its manifest, and every tap
// against its record, its evidence and the exported keys. What does not hold is
// [ErrTampered], naming the file.
func Check(files fs.FS) (r Report, err error) {
	m, sum, err := readManifest(files)
	if err != nil {
		return r, err
	}
	r.Manifest = sum
	named := map[string]bool{manifestFile: true}
	for _, f := range m.Files {
		named[f.Name] = true
		if err := checkFile(files, f); err != nil {
			return r, err
		}
		r.Files++
	}
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !named[name] {
			return ErrTampered.Explain("%s: the manifest does not name it", name)
		}
		return err
	})
	if err != nil {
		return r, err
	}
	trust, err := readKeys(files)
	if err != nil {
		return r, err
	}
	for _, id := range m.Tenants {
		by, err := newReader(files, id, trust)
		if err != nil {
			return r, err
		}
		if err := checkTaps(files, fmt.Sprintf("tenants/%d/", id), by, &r); err != nil {
			return r, err
		}
	}
	slices.SortFunc(r.Unproven, func(a, b Unproven) int { return cmp.Or(cmp.Compare(a.Scheme, b.Scheme), cmp.Compare(a.Why, b.Why)) })
	return r, nil
}

func readManifest(files fs.FS) (m Manifest, sum string, err error) {
	raw, err := fs.ReadFile(files, manifestFile)
	if err != nil {
		return m, "", ErrTampered.Explain("%s: %v", manifestFile, err)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.Form != Form {
		return m, "", ErrTampered.Explain("%s is not the manifest of an export in form %d", manifestFile, Form)
	}
	hash := sha256.Sum256(raw)
	return m, hex.EncodeToString(hash[:]), nil
}

func checkFile(files fs.FS, f File) error {
	in, err := files.Open(f.Name)
	if err != nil {
		return ErrTampered.Explain("%s: %v", f.Name, err)
	}
	defer func() { _ = in.Close() }() // it was only read
	hash := sha256.New()
	n, err := io.Copy(hash, in)
	if err != nil {
		return err
	}
	if n != f.Bytes || hex.EncodeToString(hash.Sum(nil)) != f.SHA256 {
		return ErrTampered.Explain("%s is not the file that the manifest names", f.Name)
	}
	return nil
}

func readKeys(files fs.FS) (*code.Trust, error) {
	raw, err := fs.ReadFile(files, keysFile)
	if err != nil {
		return nil, ErrTampered.Explain("%s: %v", keysFile, err)
	}
	var list []IssuerKey
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, ErrTampered.Explain("%s: %v", keysFile, err)
	}
	trust := &code.Trust{Number: 1}
	for _, k := range list {
		public, err := bundle.ParsePublic(k.Algorithm, k.Public)
		if err != nil {
			return nil, ErrTampered.Explain("%s: key %d of issuer %d: %v", keysFile, k.KeyID, k.Issuer, err)
		}
		trust.AddIssuer(k.Issuer, k.KeyID, public)
	}
	return trust, nil
}

// lines calls each with every row of a table.
func lines[Row any](files fs.FS, name string, each func(Row) error) error {
	in, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the tenant has none, or the release that exported had no such table
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	const longest = 64 << 20
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 1<<16), longest)
	for s.Scan() {
		var row Row
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			return ErrTampered.Explain("%s: %v", name, err)
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return s.Err()
}

// bytea is bytes as PostgreSQL writes them in JSON.
type bytea []byte

func (b *bytea) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(string(text), `\x`)
	if !ok {
		return errors.New(`bytes do not begin with \x`)
	}
	raw, err := hex.DecodeString(digits)
	*b = raw
	return err
}

type tapRow struct {
	Terminal uint32 `json:"terminal"`
	Seq      uint64 `json:"seq"`
	Accepted bool   `json:"accepted"`
	Evidence bytea  `json:"evidence_digest"`
	Record   bytea  `json:"record"`
}

// checkTaps rebuilds every tap's record from its parts: it must have the digest
// that was acknowledged to the terminal. An accepted one's code must be proven by
// exported public keys, unless it is of a scheme whose codes no public key proves.
func checkTaps(files fs.FS, dir string, by *reader, r *Report) error {
	type seen struct {
		Terminal uint32 `json:"terminal"`
		Seq      uint64 `json:"seq"`
		Digest   bytea  `json:"digest"`
	}
	digests := map[citygate.TapID][32]byte{}
	err := lines(files, dir+"tap_seen.jsonl", func(s seen) error {
		digests[citygate.TapID{Terminal: s.Terminal, Seq: s.Seq}] = [32]byte(append(make(bytea, 0, sha256.Size), s.Digest...)[:sha256.Size])
		return nil
	})
	if err != nil {
		return err
	}
	evidence := map[[32]byte][]byte{}
	err = lines(files, dir+"tap_evidence.jsonl", func(e struct {
		Digest bytea `json:"digest"`
		Raw    bytea `json:"raw"`
	}) error {
		digest := tap.EvidenceDigest(e.Raw)
		if !bytes.Equal(digest[:], e.Digest) {
			return ErrTampered.Explain("%stap_evidence.jsonl: the evidence %x has another digest", dir, []byte(e.Digest))
		}
		evidence[digest] = e.Raw
		return nil
	})
	if err != nil {
		return err
	}
	return lines(files, dir+"taps.jsonl", func(t tapRow) error {
		id := citygate.TapID{Terminal: t.Terminal, Seq: t.Seq}
		wrong := func(why string) error { return ErrTampered.Explain("%staps.jsonl: tap %s: %s", dir, id, why) }
		if len(t.Record) == 0 {
			r.Erased++
			return nil
		}
		record, err := tap.ParseRecord(t.Record)
		if err != nil {
			return wrong("its record cannot be read")
		}
		raw, held := evidence[[32]byte(append(make(bytea, 0, sha256.Size), t.Evidence...)[:sha256.Size])]
		if !held {
			r.Erased++ // its month of evidence was dropped
			return nil
		}
		record.Evidence = raw
		whole, err := record.AppendTo(nil)
		if err != nil || tap.Digest(whole) != digests[id] || record.ID() != id {
			return wrong("record and evidence do not have the digest that was acknowledged")
		}
		r.Taps++
		if !t.Accepted {
			return nil
		}
		scheme, why, err := by.verify(raw, record.EventTime/1000)
		switch {
		case err != nil:
			return wrong(err.Error())
		case why != "":
			r.unproven(scheme, why)
		default:
			if r.Schemes == nil {
				r.Schemes = map[code.SchemeID]int{}
			}
			r.Verified++
			r.Schemes[scheme]++
		}
		return nil
	})
}

// Sum is the SHA-256 of a file as a manifest has it.
func Sum(raw []byte) string {
	hash := sha256.Sum256(raw)
	return hex.EncodeToString(hash[:])
}
