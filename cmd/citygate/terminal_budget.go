package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A terminalBudget says what a terminal is made to hold.
type terminalBudget struct {
	keys                     int
	homeLists, roamingLists  int
	homeIssued, homeDenied   uint32
	roamIssued, roamDenied   uint32
	tapsPerMinute, limitKiB  int
	asJSON                   bool
	issuers                  int // follows from the lists
	at                       int64
	operator                 citygate.TenantID
	bundle                   []byte
	home, roaming, everybody []*denylist.List
}

func newTerminalBudgetCommand(sys *system) *cobra.Command {
	b := terminalBudget{}
	c := &cobra.Command{
		Use:   "budget",
		Short: "Build what a terminal holds, and count its bytes",
		Long: `Build a trust bundle, deny lists and a replay memory as large as --help says they
are, install them in a terminal, let riders tap for an hour, update the largest
list by a delta, and count what all of it takes. bytes is the stored form (of the
replay memory, which is not stored, the memory it takes); go_heap_bytes what
this SDK's objects take in memory. Exits 1 if either is over --limit-kib.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if b.keys < 30 || b.keys > bundle.KeysMax-8 || b.homeLists < 1 || b.roamingLists < 0 || b.homeLists+b.roamingLists > 200 ||
				b.homeDenied > b.homeIssued/2 || b.roamDenied > b.roamIssued/2 || b.tapsPerMinute < 1 || b.tapsPerMinute > 600 || b.limitKiB < 1 {
				return &usageError{errors.New("terminal budget: want 30 to 4000 keys, 1 to 200 lists with up to half of the issued denied, 1 to 600 taps a minute")}
			}
			f, err := b.run(sys)
			if err != nil {
				return err
			}
			return f.print(sys, b.asJSON)
		},
	}
	f := c.Flags()
	f.BoolVar(&b.asJSON, "json", false, "print one line of JSON")
	f.IntVar(&b.keys, "keys", 500, "keys in the trust bundle")
	f.IntVar(&b.homeLists, "home-lists", 4, "deny lists of the operator's own issuer")
	f.Uint32Var(&b.homeIssued, "home-issued", 5_000_000, "credentials in each of them")
	f.Uint32Var(&b.homeDenied, "home-denied", 50_000, "denied of each")
	f.IntVar(&b.roamingLists, "roaming-lists", 20, "deny lists of other issuers")
	f.Uint32Var(&b.roamIssued, "roaming-issued", 500_000, "credentials in each of them")
	f.Uint32Var(&b.roamDenied, "roaming-denied", 5_000, "denied of each")
	f.IntVar(&b.tapsPerMinute, "taps-per-minute", 40, "accepted taps a minute, for the replay memory")
	f.IntVar(&b.limitKiB, "limit-kib", 512, "what the terminal has")
	return c
}

// A budgetRow is one line of the table.
type budgetRow struct {
	What    string `json:"what"`
	Objects int    `json:"objects"`
	Bytes   int    `json:"bytes"`
	Heap    int64  `json:"go_heap_bytes"`
	detail  string
}

type budgetFigures struct {
	Rows  []budgetRow `json:"rows"`
	Total int         `json:"total_bytes"`
	Heap  int64       `json:"go_heap_bytes"`
	Limit int         `json:"limit_bytes"`
	Fits  bool        `json:"fits"`
}

func (f *budgetFigures) print(sys *system, asJSON bool) error {
	if asJSON {
		if err := printJSON(sys, f); err != nil {
			return err
		}
	} else {
		for _, r := range f.Rows {
			if _, err := fmt.Fprintf(sys.Stdout, "%-24s %4d  %8d bytes  %9d in memory  %s\n", r.What, r.Objects, r.Bytes, r.Heap, r.detail); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(sys.Stdout, "%-24s %4s  %8d bytes  %9d in memory  of %d\n", "all", "", f.Total, f.Heap, f.Limit); err != nil {
			return err
		}
	}
	if !f.Fits {
		return &exitError{code: 1, err: fmt.Errorf("%d bytes, %d in memory: more than the %d there are", f.Total, f.Heap, f.Limit)}
	}
	return nil
}

func (b *terminalBudget) run(sys *system) (*budgetFigures, error) {
	b.at, b.operator = sys.Now().Unix(), 1
	if err := b.makeBundle(); err != nil {
		return nil, err
	}
	if err := b.makeLists(); err != nil {
		return nil, err
	}
	disk := &ramDisk{files: map[string][]byte{}}
	v, err := b.open(disk)
	if err != nil {
		return nil, err
	}
	if err := v.InstallBundle(b.at*1000, b.bundle); err != nil {
		return nil, err
	}
	for _, l := range b.everybody {
		if err := v.InstallList(b.at*1000, l.Bytes()); err != nil {
			return nil, err
		}
	}
	beats, err := b.makeBeats()
	if err != nil {
		return nil, err
	}
	beatBytes := 0
	for _, h := range beats {
		if err := v.InstallHeartbeat(b.at*1000, h.Bytes()); err != nil {
			return nil, err
		}
		beatBytes += len(h.Bytes())
	}
	settled := disk.size(listFile)
	spare, err := b.update(v, disk)
	if err != nil {
		return nil, err
	}
	displays, err := b.ride(v)
	if err != nil {
		return nil, err
	}
	memory := heapOf(func() any { return rememberedDisplays(displays) })
	f := &budgetFigures{Limit: b.limitKiB << 10, Rows: []budgetRow{
		{"trust bundle", 1, disk.size(func(name string) bool { return strings.HasPrefix(name, "bundle") }), heapOf(b.openBundle), fmt.Sprintf("%d keys", b.keys)},
		{"home lists", len(b.home), stored(b.home), heapOf(opened(b.home)), fmt.Sprintf("%d denied of %d each", b.homeDenied, b.homeIssued)},
		{"roaming lists", len(b.roaming), stored(b.roaming), heapOf(opened(b.roaming)), fmt.Sprintf("%d denied of %d each", b.roamDenied, b.roamIssued)},
		{"heartbeats", len(beats), beatBytes, heapOf(func() any { return parsedBeats(beats) }), fmt.Sprintf("with the index blocks of a week, %d of each list", budgetBlocks)},
		{"replay memory", displays, int(memory), memory, fmt.Sprintf("displays remembered after an hour of %d taps a minute", b.tapsPerMinute)},
		{"spare slot", 1, spare, 0, "while a delta of 1,000 changes updates the largest list"},
	}}
	if settled != stored(b.home)+stored(b.roaming) {
		return nil, fmt.Errorf("the terminal's disk has %d bytes of lists, they are %d", settled, stored(b.everybody))
	}
	for _, r := range f.Rows {
		f.Total += r.Bytes
		f.Heap += r.Heap
	}
	f.Fits = f.Total <= f.Limit && f.Heap <= int64(f.Limit)
	return f, nil
}

func (b *terminalBudget) open(disk *ramDisk) (*terminal.Verifier, error) {
	return terminal.Open(terminal.Config{
		Files: disk, Tenant: b.operator, KeyID: 1, Mode: accept.Bus, Software: "budget", BootID: 1,
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(budgetKey("terminal", 0), m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Roots: budgetRoots(), Threshold: 2,
	})
}

func budgetKey(name string, n int) ed25519.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), uint64(n)))
	return ed25519.NewKeyFromSeed(seed[:])
}

func budgetPublic(name string, n int) ed25519.PublicKey {
	return ed25519.PublicKey(budgetKey(name, n)[ed25519.SeedSize:])
}

// budgetRoots are three root keys, of which two sign.
func budgetRoots() []bundle.RootKey {
	return []bundle.RootKey{{Public: budgetPublic("root", 0)}, {Public: budgetPublic("root", 1)}, {Public: budgetPublic("root", 2)}}
}

func budgetSigners() []bundle.RootSigner {
	signers := make([]bundle.RootSigner, 2)
	for i := range signers {
		signers[i] = bundle.RootSigner{Root: budgetRoots()[i], Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(budgetKey("root", i), m), nil }}
	}
	return signers
}

// budgetRootSet is the first root set, signed.
func budgetRootSet(at int64) ([]byte, error) {
	set, err := bundle.NextRoots(nil, at, 2, budgetRoots()...)
	if err != nil {
		return nil, err
	}
	draft, err := set.Prepare()
	if err != nil {
		return nil, err
	}
	return bundle.Cosign(draft, budgetSigners()...)
}

// Issuer 1 is the operator's own; its lists are numbered on.
const firstList = 100

// makeBundle makes a bundle of so many keys: of each issuer one for deny lists,
// and the rest spread over their credential keys.
func (b *terminalBudget) makeBundle() error {
	b.issuers = b.roamingLists + 1
	rules := &accept.Rules{
		Version: 1, Tenant: b.operator, Schemes: []code.SchemeID{"ct1"}, SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 168,
		StaleListSeconds: 72 * 3600, LateUploadDays: 7, ClockSuspectSeconds: 600,
		Modes:      []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 300},
	}
	roots, err := budgetRootSet(b.at - 3600)
	if err != nil {
		return err
	}
	out := &bundle.Bundle{Number: 1, Issued: b.at - 60, Expires: b.at + 30*24*3600, RootSets: [][]byte{roots}}
	for i := 1; i <= b.issuers; i++ {
		issuer := citygate.Issuer(i)
		rules.Issuers = append(rules.Issuers, accept.IssuerRule{Issuer: issuer, Currency: "CNY", CapUnitMinor: 100})
		out.Tenants = append(out.Tenants, bundle.Tenant{
			ID: citygate.TenantID(i), Issuer: issuer, Name: fmt.Sprintf("Operator %d", i), Currency: "CNY", CapUnit: 100, MaxTTLHours: 168,
		})
	}
	policy, err := rules.Encode()
	if err != nil {
		return err
	}
	out.Tenants[0].Home, out.Tenants[0].Policy, out.Tenants[0].PolicyVersion = true, policy, 1
	for n := range b.keys {
		i, kid := n%b.issuers+1, n/b.issuers+1
		k := bundle.Key{
			Tenant: citygate.TenantID(i), Issuer: citygate.Issuer(i), KeyID: uint8(kid), Algorithm: bundle.Ed25519, Usage: bundle.ForCredential,
			Public: budgetPublic("credential", n), NotBefore: b.at - 3600, Expires: b.at + 90*24*3600, State: bundle.Active,
		}
		if kid == 1 {
			k.Usage, k.Public = bundle.ForDenyList|bundle.ForHeartbeat, budgetPublic("denylist", i)
		}
		if kid > 2 {
			k.State = bundle.Retiring
		}
		out.Keys = append(out.Keys, k)
	}
	b.bundle, err = bundle.Sign(out, budgetSigners()...)
	return err
}

func (b *terminalBudget) openBundle() any {
	opened, err := bundle.Open(b.bundle, budgetRoots(), 2, b.at, 0)
	if err != nil {
		return err
	}
	return opened
}

func (b *terminalBudget) makeLists() error {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range b.homeLists + b.roamingLists {
		header := denylist.Header{Issuer: 1, List: uint16(firstList + n), Seq: 1, BuiltAt: b.at - 60, ValidUntil: b.at + 72*3600, Issued: b.homeIssued}
		denied := b.homeDenied
		if n >= b.homeLists {
			header.Issuer, header.Issued, denied = citygate.Issuer(n-b.homeLists+2), b.roamIssued, b.roamDenied
		}
		set := newBitmap(header.Issued)
		for n := uint32(0); n < denied; {
			if set.set(random.Uint32N(header.Issued), true) {
				n++
			}
		}
		l, err := signedList(header, set)
		if err != nil {
			return err
		}
		if b.everybody = append(b.everybody, l); n < b.homeLists {
			b.home = append(b.home, l)
		} else {
			b.roaming = append(b.roaming, l)
		}
	}
	return nil
}

// budgetBlocks is how many blocks a list of the budget has: two a day.
const budgetBlocks = 14

// makeBeats makes the heartbeat of every issuer, with the index blocks of its lists.
func (b *terminalBudget) makeBeats() ([]*denylist.Heartbeat, error) {
	of := map[citygate.Issuer]*denylist.Heartbeat{}
	var beats []*denylist.Heartbeat
	for _, l := range b.everybody {
		h := of[l.Issuer]
		if h == nil {
			h = &denylist.Heartbeat{Issuer: l.Issuer, At: b.at, ValidUntil: b.at + 72*3600}
			of[l.Issuer], beats = h, append(beats, h)
		}
		var blocks denylist.Blocks
		for n, next := uint32(0), uint32(0); n < budgetBlocks; n++ {
			blocks = append(blocks, denylist.Block{Day: denylist.Day(b.at-600) - int64(budgetBlocks-1-n)/2, First: next, Size: l.Issued / budgetBlocks})
			next += l.Issued / budgetBlocks
		}
		blocks[budgetBlocks-1].Size = l.Issued - blocks[budgetBlocks-1].First
		h.Beats, h.Blocks = append(h.Beats, denylist.Beat{List: l.List, Seq: l.Seq, Mark: l.Mark()}), append(h.Blocks, blocks)
	}
	for i, h := range beats {
		signed, err := h.Sign(1, signByIssuer(h.Issuer))
		if err != nil {
			return nil, err
		}
		beats[i] = signed
	}
	return beats, nil
}

// parsedBeats reads heartbeats as a terminal does.
func parsedBeats(beats []*denylist.Heartbeat) any {
	held := make([]*denylist.Heartbeat, len(beats))
	for i, h := range beats {
		held[i], _ = denylist.ParseHeartbeat(bytes.Clone(h.Bytes())) // it was installed before
	}
	return held
}

func signByIssuer(issuer citygate.Issuer) func([]byte) ([]byte, error) {
	return func(m []byte) ([]byte, error) { return ed25519.Sign(budgetKey("denylist", int(issuer)), m), nil }
}

func signedList(h denylist.Header, set bitmap) (*denylist.List, error) {
	l, err := denylist.Build(h, set.indices())
	if err != nil {
		return nil, err
	}
	return l.Sign(1, signByIssuer(h.Issuer))
}

// stored gives what lists take as they are kept.
func stored(lists []*denylist.List) (size int) {
	for _, l := range lists {
		size += len(l.Stored())
	}
	return size
}

// opened reads lists as a terminal does.
func opened(lists []*denylist.List) func() any {
	return func() any {
		held := make([]*denylist.List, len(lists))
		for i, l := range lists {
			held[i], _ = denylist.Parse(bytes.Clone(l.Bytes())) // it was installed before
		}
		return held
	}
}

// update brings the first list up to date by a delta of 1,000 changes and gives
// what the terminal's disk had meanwhile beyond its lists.
func (b *terminalBudget) update(v *terminal.Verifier, disk *ramDisk) (spare int, err error) {
	const changes = 1000
	held := b.everybody[0]
	set := newBitmap(held.Issued)
	for idx := range held.All {
		set.set(idx, true)
	}
	random := rand.New(rand.NewPCG(3, 4))
	var changed []uint32
	for len(changed) < min(changes, int(held.Issued)/4) {
		if idx := random.Uint32N(held.Issued); set.set(idx, true) {
			changed = append(changed, idx)
		}
	}
	slices.Sort(changed)
	header := held.Header
	header.Seq++
	next, err := signedList(header, set)
	if err != nil {
		return 0, err
	}
	d, err := next.To(held.Seq, changed)
	if err != nil {
		return 0, err
	}
	if d, err = d.Sign(1, signByIssuer(header.Issuer)); err != nil {
		return 0, err
	}
	disk.most = 0
	if err := v.InstallDelta(b.at*1000, d.Bytes()); err != nil {
		return 0, err
	}
	return disk.most - stored(b.everybody), nil
}

// ride has riders tap for an hour and gives how many displays are remembered.
func (b *terminalBudget) ride(v *terminal.Verifier) (displays int, err error) {
	kid := 2 // the first credential key of issuer 1
	private := budgetKey("credential", b.issuers*(kid-1))
	device := budgetKey("device", 0)
	sign, err := ct1.Signer(device)
	if err != nil {
		return 0, err
	}
	most := 0
	for n := range 60 * b.tapsPerMinute {
		idx := b.homeIssued - 1 - uint32(n) // of the last block, which is today's
		for slices.ContainsFunc(b.home[:1], func(l *denylist.List) bool { return l.Denied(idx) }) {
			idx -= uint32(60 * b.tapsPerMinute)
		}
		now := b.at + int64(n)*60/int64(b.tapsPerMinute)
		toSign, err := ct1.BuildCredential(ct1.Credential{
			Suite: ct1.SuiteEd25519, Rider: citygate.Rider{Issuer: 1, List: firstList, Index: idx}, KeyID: uint8(kid), IssuedAt: b.at - 600, TTLHours: 24,
			Cap: 50, Window: 60, DeviceKey: device[ed25519.SeedSize:],
		})
		if err != nil {
			return 0, err
		}
		credential, err := ct1.Assemble(toSign, ed25519.Sign(private, toSign))
		if err != nil {
			return 0, err
		}
		raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: now, Counter: uint16(n % 60000), Party: 1, Medium: code.MediumBand}, sign)
		if err != nil {
			return 0, err
		}
		d, err := v.Tap(now*1000, raw, terminal.Input{MonotonicMS: uint64(now-b.at+1) * 1000, Clock: tap.ClockGNSS, Kind: tap.Single})
		if err != nil {
			return 0, err
		}
		if !d.Open && d.Reason != code.Denied { // the delta denied some
			return 0, fmt.Errorf("a tap was refused: %s", d.Reason)
		}
		most = max(most, v.Status().Replay)
	}
	return most, nil
}

// rememberedDisplays makes what a terminal remembers of n displays, in the form it
// has there.
func rememberedDisplays(n int) any {
	type use struct {
		rider   citygate.Rider
		counter uint16
	}
	m := map[use]uint32{}
	for i := range n {
		m[use{citygate.Rider{Issuer: 1, List: firstList, Index: uint32(i)}, uint16(i)}] = uint32(i)
	}
	return m
}

// heapOf gives what an object takes in memory: the mean of several.
func heapOf(build func() any) int64 {
	const copies = 8
	held := make([]any, copies)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range held {
		held[i] = build()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(held)
	return (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / copies
}

// A ramDisk is a terminal's disk that counts its bytes.
type ramDisk struct {
	files map[string][]byte
	most  int // of deny lists, since it was set to 0
}

func listFile(name string) bool { return strings.HasPrefix(name, "deny-") }

func (d *ramDisk) size(of func(name string) bool) (size int) {
	for name, data := range d.files {
		if of(name) {
			size += len(data)
		}
	}
	return size
}

func (d *ramDisk) List() ([]string, error) {
	names := make([]string, 0, len(d.files))
	for name := range d.files {
		names = append(names, name)
	}
	return names, nil
}

func (d *ramDisk) ReadFile(name string) ([]byte, error) {
	data, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(data), nil
}

func (d *ramDisk) Create(name string) (terminal.File, error) {
	d.files[name] = []byte{}
	return &ramFile{d, name}, nil
}

func (d *ramDisk) Append(name string) (terminal.File, error) { return &ramFile{d, name}, nil }

func (d *ramDisk) Rename(from, to string) error {
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *ramDisk) Remove(name string) error {
	delete(d.files, name)
	return nil
}

func (d *ramDisk) SyncDir() error { return nil }

type ramFile struct {
	disk *ramDisk
	name string
}

func (f *ramFile) Write(p []byte) (int, error) {
	f.disk.files[f.name] = append(f.disk.files[f.name], p...)
	f.disk.most = max(f.disk.most, f.disk.size(listFile))
	return len(p), nil
}

func (f *ramFile) Truncate(size int64) error {
	f.disk.files[f.name] = f.disk.files[f.name][:size]
	return nil
}

func (f *ramFile) Sync() error  { return nil }
func (f *ramFile) Close() error { return nil }
