package code_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
)

func sum(n uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
}

func TestCredentialsNeverExceedTheirCapacity(t *testing.T) {
	c := code.NewCredentials(640)
	for n := range uint64(10_000) {
		c.Put(sum(n), n)
		if got, ok := c.Get(sum(n)); !ok || got != n {
			t.Fatalf("entry %d, just put: %v, %v", n, got, ok)
		}
	}
	if c.Len() != 640 {
		t.Errorf("%d entries, want 640", c.Len())
	}
	held := 0
	for n := range uint64(10_000) {
		if got, ok := c.Get(sum(n)); ok {
			held++
			if got != n {
				t.Fatalf("key %d gives %v: another credential's device", n, got)
			}
		}
	}
	if held != 640 {
		t.Errorf("%d entries can be found, want 640", held)
	}
}

func TestCredentialsReadOftenStay(t *testing.T) {
	c := code.NewCredentials(64 * 16)
	c.Put(sum(0), "daily rider")
	for n := uint64(1); n < 50_000; n++ {
		c.Put(sum(n), n)
		if _, ok := c.Get(sum(0)); !ok {
			t.Fatalf("gone after %d strangers", n)
		}
	}
}

func TestCredentialsTinyCapacityAndPutTwice(t *testing.T) {
	c := code.NewCredentials(0)
	for n := range uint64(1000) {
		c.Put(sum(n), n)
		c.Put(sum(n), n+1)
		if got, ok := c.Get(sum(n)); !ok || got != n+1 {
			t.Fatalf("%v, %v", got, ok)
		}
	}
}

func TestCredentialsConcurrently(t *testing.T) {
	c := code.NewCredentials(256)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for g := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(5000) {
				n := (i*7 + g) % 1000
				if got, ok := c.Get(sum(n)); ok && got != n {
					errs <- fmt.Errorf("key %d gives %v", n, got)
					return
				}
				c.Put(sum(n), n)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func BenchmarkCredentialsGet(b *testing.B) {
	c := code.NewCredentials(1 << 16)
	for n := range uint64(50_000) {
		c.Put(sum(n), n)
	}
	b.RunParallel(func(pb *testing.PB) {
		key := sum(7)
		for pb.Next() {
			if _, ok := c.Get(key); !ok {
				b.Error("gone")
			}
		}
	})
}
