package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The benchmark visits what it made, and leaves nothing behind.
func TestBenchTenants(t *testing.T) {
	data, _ := servedDir(t)
	var out, errs bytes.Buffer
	sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Random: rand.Reader, Env: os.Getenv, served: checked(t)}
	dir := filepath.Dir(data)
	if code := run(context.Background(), sys, []string{"bench", "tenants", "--json", "--tenants", "20", "--visits", "15", "--data", dir}); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs.String())
	}
	var answer struct{ Rows []tenantRow }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || len(answer.Rows) != 2 {
		t.Fatalf("%v: %s", err, out.String())
	}
	for i, want := range []int{10, 20} {
		r := answer.Rows[i]
		if r.Tenants != want || r.StartMS <= 0 || r.HeapKiB <= 0 || r.ColdP50 <= 0 || r.WarmP99 < r.WarmP50 || r.LookP50 <= 0 || r.ListOwnP50 <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "tenants-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
