package person_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const town citygate.TenantID = 1

// alone names each credential a device of its own.
type alone struct{}

func (alone) DevicesOf(_ context.Context, _ *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]string, error) {
	out := map[citygate.Rider]string{}
	for _, r := range riders {
		out[r] = r.String()
	}
	return out, nil
}

func (alone) RidersOf(_ context.Context, _ *pg.Tx, devices []string) (map[string][]citygate.Rider, error) {
	out := map[string][]citygate.Rider{}
	for _, d := range devices {
		r, err := citygate.ParseRider(d)
		if err != nil {
			return nil, err
		}
		out[d] = []citygate.Rider{r}
	}
	return out, nil
}

func rider(n uint32) citygate.Rider { return citygate.Rider{Issuer: 7, Index: n} }

// Nine devices are nobody's; a process without the tenant's key says so and guesses
// nothing; a second join of the same devices changes nothing; two processes make one
// key.
func TestJoins(t *testing.T) {
	now := pgtest.Epoch
	db := pgtest.New(t, pgtest.WithClock(func() time.Time { return now }))
	dir := t.TempDir()
	if err := local.CreateKeyFile(filepath.Join(dir, "k"), rand.Reader); err != nil {
		t.Fatal(err)
	}
	open := func() *person.Book {
		store, err := local.Open(local.Config{Dir: filepath.Join(dir, "keys"), KeyFile: filepath.Join(dir, "k"), Random: rand.Reader, Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return &person.Book{DB: db, Secrets: store, Directory: alone{}, Random: rand.Reader}
	}
	in := func(fn func(tx *pg.Tx) error) error { return db.InTenant(t.Context(), town, fn) }
	book, other, keyless := open(), open(), &person.Book{DB: db, Directory: alone{}, Random: rand.Reader}
	for _, b := range []*person.Book{book, other} {
		if err := b.Open(t.Context(), town); err != nil {
			t.Fatal(err)
		}
	}
	join := func(b *person.Book, riders ...citygate.Rider) (s person.Standing, err error) {
		err = in(func(tx *pg.Tx) (err error) { s, err = b.Join(t.Context(), tx, riders, now.Add(time.Hour)); return err })
		return s, err
	}
	for range 2 {
		if s, err := join(book, rider(1), rider(2)); err != nil || s.Devices != 2 {
			t.Fatalf("joined %+v, %v", s, err)
		}
	}
	if _, err := join(book, rider(1), rider(1)); !errors.Is(err, person.ErrTooFew) {
		t.Errorf("one device: %v", err)
	}
	if s, err := join(other, rider(2), rider(3), rider(4)); err != nil || s.Devices != 4 {
		t.Errorf("by another process: %+v, %v", s, err)
	}
	if _, err := join(book, rider(10), rider(11)); err != nil {
		t.Fatal(err)
	}
	if _, err := join(book, rider(1), rider(10)); !errors.Is(err, person.ErrOthers) {
		t.Errorf("two persons: %v", err)
	}
	if _, err := join(book, rider(1), rider(5), rider(6), rider(7), rider(8), rider(9)); !errors.Is(err, person.ErrMany) {
		t.Errorf("nine devices: %v", err)
	}
	err := in(func(tx *pg.Tx) error {
		all, err := book.Members(t.Context(), tx, []citygate.Rider{rider(3), rider(9)})
		subjects := map[person.Subject]bool{}
		for _, m := range all {
			subjects[m.Subject] = true
		}
		if len(all) != 4 || len(subjects) != 1 {
			t.Errorf("members %+v", all)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := keyless.Prime(t.Context(), town); err != nil {
		t.Error(err)
	}
	if err := in(func(tx *pg.Tx) error {
		_, err := keyless.Members(t.Context(), tx, []citygate.Rider{rider(9)})
		return err
	}); !errors.Is(err, person.ErrKey) {
		t.Errorf("without the key: %v", err)
	}
	if err := in(func(tx *pg.Tx) error {
		_, err := book.Leave(t.Context(), tx, rider(11), now.Add(time.Hour))
		return err
	}); err != nil {
		t.Error(err)
	}
	if err := in(func(tx *pg.Tx) error {
		_, err := book.Leave(t.Context(), tx, rider(10), now.Add(time.Hour))
		return err
	}); !errors.Is(err, person.ErrAlone) {
		t.Errorf("leaving nobody: %v", err)
	}
}
