package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Crowd is riders with a phone each: numbers First to First+Len-1.
type Crowd struct {
	seed    uint64
	first   int
	issued  time.Time
	partsA  [][]byte
	counter uint16 // displays made by every phone so far
}

// Len gives the number of riders.
func (c *Crowd) Len() int { return len(c.partsA) }

// Ref gives the provider's name of rider n.
func Ref(n int) string { return fmt.Sprintf("rider-%07d", n) }

// Riders opens accounts for riders first to first+count-1 and gives each phone
// its credential, through the registry.
func (o *Operator) Riders(ctx context.Context, first, count int) (*Crowd, error) {
	c := &Crowd{seed: o.Seed, first: first, issued: o.Clock().Truncate(time.Second), partsA: make([][]byte, 0, count)}
	const batch = 2_000
	for at := 0; at < count; at += batch {
		n := min(batch, count-at)
		wanted := make([]credential.Account, n)
		for i := range wanted {
			wanted[i] = credential.Account{Contract: contract, RiderRef: Ref(first + at + i)}
		}
		var accounts []credential.Account
		err := o.Gateway.DB.InTenant(ctx, Tenant, func(tx *pg.Tx) (err error) {
			accounts, err = credential.OpenAccounts(ctx, tx, actor, wanted)
			return err
		})
		if err != nil {
			return nil, err
		}
		requests := make([]credential.Request, n)
		err = parallel(n, func(i int) error {
			key, err := deviceKey(o.Seed, first+at+i)
			if err != nil {
				return err
			}
			requests[i] = credential.Request{
				Account: accounts[i].ID, Suite: ct1.SuiteP256, Medium: code.MediumPhone, Product: 1, Cap: 1000, Window: 30, TTLHours: 72,
			}
			_, requests[i].DeviceKey, err = ct1.DeviceKey(&key.PublicKey)
			return err
		})
		if err != nil {
			return nil, err
		}
		issues, err := o.Gateway.Credentials.IssueBatch(ctx, actor, Tenant, requests)
		if err != nil {
			return nil, err
		}
		for _, issue := range issues {
			c.partsA = append(c.partsA, issue.Credential)
		}
	}
	return c, nil
}

// deviceKey derives a phone's key from 32 bytes that are below the group order
// but for one case in 2^32; then the next try is.
func deviceKey(seed uint64, rider int) (*ecdsa.PrivateKey, error) {
	for try := byte(0); ; try++ {
		material := sha256.Sum256(fmt.Appendf(nil, "citygate load phone %d %d %d", seed, rider, try))
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), material[:])
		if err == nil || try == 3 {
			return key, err
		}
	}
}

// order gives the riders in the order they come in a round.
func (c *Crowd) order(round uint16) []int {
	order := make([]int, c.Len())
	places := make([][32]byte, c.Len())
	for i := range order {
		order[i] = i
		var b [20]byte
		binary.BigEndian.PutUint64(b[:], c.seed)
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		binary.BigEndian.PutUint16(b[16:], round)
		places[i] = sha256.Sum256(b[:])
	}
	slices.SortFunc(order, func(a, b int) int { return slices.Compare(places[a][:], places[b][:]) })
	return order
}

// parallel calls f for 0 to n-1 on all cores and gives the first error.
func parallel(n int, f func(i int) error) error {
	const share = 64
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				from := int(next.Add(share)) - share
				if from >= n {
					return
				}
				for i := from; i < min(from+share, n); i++ {
					if err := f(i); err != nil {
						once.Do(func() { failed = err })
						return
					}
				}
			}
		})
	}
	wg.Wait()
	return failed
}
