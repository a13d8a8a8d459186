package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// tables are the tables of both logs.
var tables = []string{
	"audit_log", "audit_heads", "audit_checkpoints", "tenant_keys",
	"platform.audit_log", "platform.audit_heads", "platform.audit_checkpoints", "platform.platform_keys",
}

// played gives three logs of about thirty rows with several checkpoints each, and
// what puts them back as they were.
func played(t *testing.T) (*place, func()) {
	p := open(t)
	for range 4 {
		for _, log := range []citygate.TenantID{audit.Platform, metro, bus} {
			p.write(log, 7)
			p.seal(log)
		}
	}
	for _, log := range []citygate.TenantID{audit.Platform, metro, bus} {
		p.seal(log)
	}
	p.clean()
	for _, table := range tables {
		p.super.Exec(0, fmt.Sprintf("CREATE TABLE %s_saved AS SELECT * FROM %s", table, table))
	}
	return p, func() {
		for _, table := range tables {
			p.super.Exec(0, "DELETE FROM "+table)
			p.super.Exec(0, fmt.Sprintf("INSERT INTO %s SELECT * FROM %s_saved", table, table))
		}
	}
}

// flips changes a value of each type of column into another one.
var flips = map[string]string{
	"bigint":                   `coalesce(%[1]s, 0) + 1000`,
	"smallint":                 `(%[1]s %% 255 + 1)::smallint`,
	"integer":                  `%[1]s + 1`,
	"uuid":                     `overlay(%[1]s::text placing translate(right(%[1]s::text, 1), '0123456789abcdef', '123456789abcdef0') from 36)::uuid`,
	"text":                     `%[1]s || ' '`,
	"jsonb":                    `coalesce(%[1]s, '{}') || '{"state": null}'`,
	"timestamp with time zone": `%[1]s + interval '1 microsecond'`,
	"bytea":                    `set_byte(%[1]s, octet_length(%[1]s) - 1, get_byte(%[1]s, octet_length(%[1]s) - 1) # 1)`,
}

// columns reads a table's columns and their types from the catalog, so that a new
// one cannot be forgotten.
func (p *place) columns(table string) map[string]string {
	schema, name, ok := strings.Cut(table, ".")
	if !ok {
		schema, name = "public", table
	}
	all := map[string]string{}
	for _, row := range p.super.Rows(0, `SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2`, schema, name) {
		all[row[0].(string)] = row[1].(string)
	}
	if len(all) < 3 {
		p.Fatalf("%s has the columns %v", table, all)
	}
	return all
}

// Every column of a random row is changed, each alone: the row is named.
func TestEveryChangedColumnIsFound(t *testing.T) {
	p, restore := played(t)
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	logs := map[string]citygate.TenantID{"audit_log": metro, "platform.audit_log": audit.Platform}
	for table, log := range logs {
		last := p.count(log, "max(seq)", table)
		for column, kind := range p.columns(table) {
			if log == audit.Platform && column == "tenant_id" {
				continue // a constraint of the table: it is 0 or nothing
			}
			flip, ok := flips[kind]
			if !ok {
				t.Fatalf("%s.%s is a %s: say in flips how one is changed, and in audit.Row.Sum how it is hashed", table, column, kind)
			}
			seq := 1 + random.Int64N(last)
			if n := p.super.Exec(0, fmt.Sprintf("UPDATE %s SET %s = %s WHERE tenant_id = $1 AND seq = $2", table, column, fmt.Sprintf(flip, column)), log, seq); n != 1 {
				t.Fatalf("%s: %d rows", column, n)
			}
			if r := p.verify(); !has(r, audit.Altered, log, seq) && !has(r, audit.Missing, log, seq) && !has(r, audit.BrokenLink, log, seq) {
				t.Errorf("%s.%s of row %d was changed, and found is %v", table, column, seq, r.Findings)
			}
			restore()
		}
	}
	p.clean()
}

// The same for checkpoints and for the chain's end.
func TestEveryChangedSealIsFound(t *testing.T) {
	p, restore := played(t)
	for table, log := range map[string]citygate.TenantID{
		"audit_checkpoints": metro, "platform.audit_checkpoints": audit.Platform, "audit_heads": metro, "platform.audit_heads": audit.Platform,
	} {
		where := " WHERE tenant_id = $1"
		if strings.HasSuffix(table, "checkpoints") {
			where += " AND n = 2"
		}
		for column, kind := range p.columns(table) {
			if column == "tenant_id" && (log == audit.Platform || table == "audit_heads") {
				continue // a constraint; and a head that is gone is a log cut to nothing, below
			}
			if n := p.super.Exec(0, fmt.Sprintf("UPDATE %s SET %s = %s", table, column, fmt.Sprintf(flips[kind], column))+where, log); n != 1 {
				t.Fatalf("%s: %d rows", column, n)
			}
			if r := p.verify(); r.OK() || r.Findings[0].Tenant != log {
				t.Errorf("%s.%s was changed, and found is %v", table, column, r.Findings)
			}
			restore()
		}
	}
	p.clean()
}

// Rows are deleted, swapped, added, cut off and written anew, with and without
// good hashes. Each attack gives what must be found.
func TestTamperingIsFound(t *testing.T) {
	p, restore := played(t)
	last := p.count(metro, "max(seq)", "audit_log")
	sealed := p.count(metro, "max(seq)", "audit_checkpoints")
	if last != sealed || last < 28 {
		t.Fatalf("%d rows, %d sealed", last, sealed)
	}
	kept := p.export(metro)
	do := func(sql string, args ...any) {
		if p.super.Exec(metro, sql, args...) == 0 {
			t.Fatalf("%s: no row", sql)
		}
	}
	const bySeq = " WHERE tenant_id = 7 AND seq "
	attacks := []struct {
		name string
		do   func()
		kind string
		row  int64
		copy bool // only a copy kept elsewhere shows it
	}{
		{name: "one row is deleted", kind: audit.Missing, row: 11, do: func() { do("DELETE FROM audit_log" + bySeq + "= 11") }},
		{name: "and the rest is numbered anew", kind: audit.Altered, row: 11, do: func() {
			do("DELETE FROM audit_log" + bySeq + "= 11")
			for seq := int64(12); seq <= last; seq++ {
				do("UPDATE audit_log SET seq = seq - 1"+bySeq+"= $1", seq)
			}
			do("UPDATE audit_heads SET seq = seq - 1 WHERE tenant_id = 7")
		}},
		{name: "two rows change places", kind: audit.Altered, row: 6, do: func() {
			do("UPDATE audit_log SET seq = 9999" + bySeq + "= 6")
			do("UPDATE audit_log SET seq = 6" + bySeq + "= 19")
			do("UPDATE audit_log SET seq = 19" + bySeq + "= 9999")
		}},
		{name: "two rows change contents", kind: audit.Altered, row: 19, do: func() {
			do(`UPDATE audit_log a SET actor = 'user:' || b.seq, verb = b.verb, object = b.object, before = b.before, after = b.after, at = b.at
				FROM audit_log b WHERE a.tenant_id = 7 AND b.tenant_id = 7 AND (a.seq, b.seq) IN ((6, 19), (19, 6))`)
		}},
		{name: "a row is put between", kind: audit.Altered, row: 12, do: func() {
			for seq := last; seq >= 12; seq-- {
				do("UPDATE audit_log SET seq = seq + 1"+bySeq+"= $1", seq)
			}
			do("UPDATE audit_heads SET seq = seq + 1 WHERE tenant_id = 7")
			do(insertLike, 12)
		}},
		{name: "a row is put at the end", kind: audit.Beyond, row: last + 1, do: func() { do(insertLike, last+1) }},
		{name: "a row is added in the past, without a link", kind: audit.Unsealed, do: func() {
			do(`INSERT INTO audit_log (tenant_id, entry_id, actor, verb, object, at)
				SELECT tenant_id, gen_random_uuid(), actor, verb, object, at - interval '1 hour' FROM audit_log` + bySeq + `= 3`)
		}},
		{name: "a link is taken off a row", kind: audit.Missing, row: 15, do: func() {
			do("UPDATE audit_log SET seq = NULL, prev_hash = NULL, hash = NULL" + bySeq + "= 15")
		}},
		{name: "the tail is cut", kind: audit.Missing, row: last, do: func() { do("DELETE FROM audit_log"+bySeq+"> $1", last-4) }},
		{name: "the tail and the end of the chain", kind: audit.Missing, row: last, do: func() { p.cut(last - 4) }},
		{name: "the tail, the end and checkpoints after it", kind: audit.CopyDiffers, copy: true, do: func() {
			p.cut(14)
			do("DELETE FROM audit_checkpoints WHERE tenant_id = 7 AND seq > 14")
			do("DELETE FROM audit_log" + bySeq + "> (SELECT max(seq) FROM audit_checkpoints WHERE tenant_id = 7)")
			p.cut(p.count(metro, "max(seq)", "audit_checkpoints"))
		}},
		{name: "everything", kind: audit.CopyDiffers, copy: true, do: func() {
			for _, table := range tables[:3] {
				do("DELETE FROM " + table + " WHERE tenant_id = 7")
			}
		}},
		{name: "a checkpoint is deleted", kind: audit.NoSeal, do: func() { do("DELETE FROM audit_checkpoints WHERE tenant_id = 7 AND n = 2") }},
		{name: "written anew from row 10 with good hashes", kind: audit.WrongRoot, row: sealed, do: func() { p.rewrite(10) }},
		{name: "and checkpoints by another key", kind: audit.WrongKey, do: func() {
			p.rewrite(10)
			p.reseal(keys.NewRing(p.db, store(t, p.now)))
		}},
		{name: "and checkpoints by the tenant's own key", kind: audit.CopyDiffers, copy: true, do: func() {
			p.rewrite(10)
			p.reseal(p.ring)
		}},
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			defer restore()
			a.do()
			r := p.verify()
			if a.copy {
				for _, f := range r.Findings {
					t.Errorf("nobody can know this from the database alone: %s", f)
				}
				r = p.verify(kept)
			}
			if !has(r, a.kind, metro, a.row) {
				t.Errorf("want %s of row %d, found is %v", a.kind, a.row, r.Findings)
			}
			for _, f := range r.Findings {
				if f.Tenant != metro {
					t.Errorf("of another log: %s", f)
				}
			}
		})
	}
	p.clean()
	if r := p.verify(kept); !r.OK() || r.Copies != len(kept.Checkpoints) {
		t.Errorf("with the copy: %+v", r)
	}
}

// insertLike adds a row at seq $1 with the links of the row before.
const insertLike = `
	INSERT INTO audit_log (tenant_id, entry_id, actor, verb, object, before, after, at, seq, prev_hash, hash)
	SELECT tenant_id, gen_random_uuid(), actor, verb, object, before, after, at, $1::bigint, hash, hash
	FROM audit_log WHERE tenant_id = 7 AND seq = $1::bigint - 1`

// A key that the database announces and the key store does not have is found with
// the key store, and with a copy.
func TestAnAnnouncedKeyIsHeldAgainstTheKeyStore(t *testing.T) {
	p, _ := played(t)
	kept := p.export(metro)
	forger := keys.NewRing(p.db, store(t, p.now))
	p.rewrite(10)
	p.reseal(forger)
	blind := keys.NewRing(p.db, nil)
	if r := p.verifyWith(blind); !r.OK() || r.Keys != audit.Announced {
		t.Errorf("the database's own word should be believed without a key store: %+v", r)
	}
	if r := p.verify(); !has(r, audit.WrongKey, metro, 0) {
		t.Errorf("with the key store: %v", r.Findings)
	}
	if r := p.verifyWith(blind, kept); !has(r, audit.CopyDiffers, metro, 0) || !has(r, audit.Altered, metro, 0) {
		t.Errorf("with the copy: %v", r.Findings)
	}
}

// A copy reads back as it was written, and a damaged one proves nothing.
func TestCopies(t *testing.T) {
	p, _ := played(t)
	var file bytes.Buffer
	for _, log := range []citygate.TenantID{metro, audit.Platform} {
		p.must(json.NewEncoder(&file).Encode(p.export(log)))
	}
	copies, err := audit.ReadCopies(bytes.NewReader(file.Bytes()))
	p.must(err)
	if len(copies) != 2 || !slices.EqualFunc(copies[0].Checkpoints, p.export(metro).Checkpoints, func(a, b audit.Checkpoint) bool {
		return bytes.Equal(a.Message(), b.Message()) && bytes.Equal(a.Signature, b.Signature)
	}) {
		t.Errorf("%+v", copies)
	}
	if r := p.verify(copies...); !r.OK() || r.Copies == 0 {
		t.Errorf("%+v", r)
	}
	copies[0].Checkpoints[1].Root[5] ^= 1
	if r := p.verify(copies...); !has(r, audit.CopyDiffers, metro, 0) {
		t.Errorf("a damaged copy: %v", r.Findings)
	}
	for _, bad := range []string{"{", `{"tenant":7,"checkpoints":[{"tenant":8}]}`, `{"tenant":7,"checkpoints":[{"tenant":7,"root":"00","prev_root":""}]}`} {
		if _, err := audit.ReadCopies(strings.NewReader(bad)); !errors.Is(err, audit.ErrCopy) {
			t.Errorf("read %s: %v", bad, err)
		}
	}
}

func (p *place) export(log citygate.TenantID) audit.Copy {
	p.Helper()
	c, err := audit.Export(p.Context(), p.db, p.ring, log, 0)
	p.must(err)
	return c
}

// cut removes what comes behind row seq, and moves the end of the chain there.
func (p *place) cut(seq int64) {
	p.super.Exec(0, "DELETE FROM audit_log WHERE tenant_id = 7 AND seq > $1", seq)
	p.super.Exec(0, "UPDATE audit_heads SET seq = $1, hash = (SELECT hash FROM audit_log WHERE tenant_id = 7 AND seq = $1) WHERE tenant_id = 7", seq)
}

// rewrite changes the actor of row k and gives it and all behind it good hashes.
func (p *place) rewrite(k int64) {
	p.Helper()
	p.super.Exec(0, "UPDATE audit_log SET actor = 'user:mallory' WHERE tenant_id = 7 AND seq = $1", k)
	var all []audit.Row
	p.in(metro, func(tx *pg.Tx) (err error) {
		all, err = audit.List(p.Context(), tx, audit.Filter{}, citygate.UUID{}, 1000)
		return err
	})
	slices.SortFunc(all, func(a, b audit.Row) int { return int(a.Seq - b.Seq) })
	p.must(audit.Connect(all[k-1:], k-1, all[k-2].Hash))
	for _, r := range all[k-1:] {
		p.super.Exec(0, "UPDATE audit_log SET prev_hash = $2, hash = $3 WHERE tenant_id = 7 AND seq = $1", r.Seq, r.Prev[:], r.Hash[:])
	}
	end := all[len(all)-1]
	p.super.Exec(0, "UPDATE audit_heads SET hash = $1 WHERE tenant_id = 7", end.Hash[:])
}

// reseal makes all checkpoints of metro's log anew with the keys of ring, and
// announces those, as one could who may write to the database.
func (p *place) reseal(ring *keys.Ring) {
	p.Helper()
	ctx := p.Context()
	p.must(ring.Signer().Create(ctx, metro, keys.Audit, keys.Ed25519))
	versions, err := ring.Signer().Versions(ctx, metro, keys.Audit)
	p.must(err)
	_, public, err := keys.EncodePublic(versions[0].Public)
	p.must(err)
	p.super.Exec(0, "UPDATE tenant_keys SET public_key = $1 WHERE tenant_id = 7 AND purpose = 'audit' AND kid = 1", public)
	prev := audit.Hash{}
	for _, c := range p.export(metro).Checkpoints {
		root := p.super.Rows(0, "SELECT hash FROM audit_log WHERE tenant_id = 7 AND seq = $1", c.Seq)[0][0].([]byte)
		c.Prev = prev
		copy(c.Root[:], root)
		prev = c.Root
		signed, err := ring.Signer().Sign(ctx, metro, keys.Audit, 1, [][]byte{c.Message()})
		p.must(err)
		p.super.Exec(0, "UPDATE audit_checkpoints SET root = $2, prev_root = $3, signature = $4 WHERE tenant_id = 7 AND n = $1", c.N, c.Root[:], c.Prev[:], signed[0].Bytes)
	}
}
