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

// The benchmark collects what it claimed, once, its bill agrees, and it leaves
// nothing behind.
func TestBenchCollect(t *testing.T) {
	data, _ := servedDir(t)
	var out, errs bytes.Buffer
	sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Random: rand.Reader, Env: os.Getenv, served: checked(t)}
	dir := filepath.Dir(data)
	if code := run(context.Background(), sys, []string{"bench", "collect", "--charges", "400", "--reissue", "--data", dir}); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs.String())
	}
	var r collectReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if r.Succeeded != 396 || r.Declined != 4 || r.Matched != 396 || r.BillLines != 396 || r.Unknown == 0 || r.ChargesPerSecond <= 0 || r.JoinSeconds <= 0 ||
		len(r.Reissued) != 2 || r.Otherwise != 396 {
		t.Errorf("%+v", r)
	}
	for name, spoil := range map[string]func(*collectReport){
		"a rider who paid twice":   func(r *collectReport) { r.Twice++ },
		"a charge that is open":    func(r *collectReport) { r.Open, r.Succeeded = 1, r.Succeeded-1 },
		"another book there":       func(r *collectReport) { r.Differ++ },
		"a row that finds nothing": func(r *collectReport) { r.Matched-- },
		"a row too many":           func(r *collectReport) { r.BillLines++ },
		"a row left as it was":     func(r *collectReport) { r.Otherwise-- },
	} {
		bad := r
		if spoil(&bad); bad.wrong() == nil {
			t.Errorf("%s is nothing wrong", name)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "collect-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
