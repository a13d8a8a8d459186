package pglocal_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
)

// A cluster that was filled and kept is what the next one of its name begins
// with, and no other's.
func TestATemplateIsCopied(t *testing.T) {
	shared := filepath.Join(dataDir(t), "shared") // as root's data and cache are in one folder
	cache := filepath.Join(shared, "cache")
	with := func(template string) pglocal.Config {
		c := config(dataDir(t))
		c.CacheDir, c.Template = cache, template
		return c
	}
	const filled = `SELECT to_regclass('kept') IS NOT NULL AND to_regclass('late') IS NULL`
	first := start(t, with("schema 1"))
	exec1(t, first, pglocal.Owner, `CREATE TABLE kept ()`)
	if err := first.KeepTemplate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if about, err := os.Stat(shared); err != nil || about.Mode().Perm()&0o011 != 0o011 {
		t.Errorf("the folder of the cache: %v, %v; others have to pass through", about, err)
	}
	if !query[bool](t, first, pglocal.Owner, filled) {
		t.Error("the server it was taken from lacks its table")
	}
	exec1(t, first, pglocal.Owner, `CREATE TABLE late ()`) // is this cluster's alone

	c := with("schema 1")
	c.Durable = true
	second := start(t, c)
	if !query[bool](t, second, pglocal.Owner, filled) {
		t.Error("a cluster of the same name was not copied")
	}
	if err := second.KeepTemplate(t.Context()); err != nil { // it came from the template
		t.Error(err)
	}
	if err := second.Stop(context.Background()); err != nil {
		t.Errorf("stopping once the copy is on the disk: %v", err)
	}

	other := start(t, with("schema 2"))
	if query[bool](t, other, pglocal.Owner, filled) {
		t.Error("a template of another name was copied")
	}
}

// A template that does not hold a whole cluster is passed over.
func TestABrokenTemplateIsPassedOver(t *testing.T) {
	cache := dataDir(t)
	c := config(dataDir(t))
	c.CacheDir, c.Template = cache, "schema"
	first := start(t, c)
	if err := first.KeepTemplate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(cache, "clusters", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v: want one cluster and nothing half-made", kept, err)
	}
	if err := os.Remove(filepath.Join(kept[0], "PG_VERSION")); err != nil {
		t.Fatal(err)
	}
	c.DataDir = dataDir(t)
	if !query[bool](t, start(t, c), pglocal.Owner, `SELECT true`) {
		t.Error("no server")
	}
}
