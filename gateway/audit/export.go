package audit

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Copy is a log's checkpoints and the public keys that verify them, to be kept
// where nobody who can change the log can change it.
type Copy struct {
	Tenant      citygate.TenantID `json:"tenant"` // 0 = the platform
	Keys        []PublicKey       `json:"keys"`
	Checkpoints []Checkpoint      `json:"checkpoints"`
}

// A PublicKey is an audit key as a copy has it.
type PublicKey struct {
	KeyID     uint8  `json:"kid"`
	Algorithm string `json:"algorithm"`
	Public    []byte `json:"public_key"` // form of [keys.EncodePublic], in base64
}

// checkpointJSON is a checkpoint in a copy and at the API.
type checkpointJSON struct {
	Tenant    int64     `json:"tenant"`
	N         int64     `json:"n"`
	Seq       int64     `json:"seq"`
	Root      string    `json:"root"`
	Prev      string    `json:"prev_root"`
	At        time.Time `json:"at"`
	KeyID     uint8     `json:"kid"`
	Signature []byte    `json:"signature"`
}

// MarshalJSON implements [json.Marshaler].
func (c Checkpoint) MarshalJSON() ([]byte, error) {
	return json.Marshal(checkpointJSON{int64(c.Tenant), c.N, c.Seq, hex.EncodeToString(c.Root[:]), hex.EncodeToString(c.Prev[:]), c.At.UTC(), c.KeyID, c.Signature})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *Checkpoint) UnmarshalJSON(raw []byte) error {
	var j checkpointJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return err
	}
	*c = Checkpoint{Tenant: citygate.TenantID(j.Tenant), N: j.N, Seq: j.Seq, At: j.At, KeyID: j.KeyID, Signature: j.Signature}
	if !c.Root.parse(j.Root) || !c.Prev.parse(j.Prev) {
		return fmt.Errorf("checkpoint %d: root and prev_root are to be SHA-256 hashes in hexadecimal", j.N)
	}
	return nil
}

func (h *Hash) parse(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && copy(h[:], raw) == len(h) && len(raw) == len(h)
}

// Export gives a copy of a tenant's checkpoints behind number after.
func Export(ctx context.Context, db *pg.DB, ring *keys.Ring, tenant citygate.TenantID, after int64) (Copy, error) {
	c := Copy{Tenant: tenant, Keys: []PublicKey{}, Checkpoints: []Checkpoint{}}
	all, err := ring.Keys(ctx, tenant)
	if err != nil {
		return Copy{}, err
	}
	for _, k := range all {
		if k.Purpose == keys.Audit {
			c.Keys = append(c.Keys, PublicKey{k.KeyID, string(k.Algorithm), k.Public})
		}
	}
	for {
		var page []Checkpoint
		err := in(ctx, db, tenant, func(tx *pg.Tx) (err error) {
			page, err = Checkpoints(ctx, tx, after, pageMax)
			return err
		})
		c.Checkpoints = append(c.Checkpoints, page...)
		if err != nil || len(page) < pageMax {
			return c, err
		}
		after = page[len(page)-1].N
	}
}

// ReadCopies reads copies, one JSON object a line as "citygate audit export"
// writes them.
func ReadCopies(r io.Reader) ([]Copy, error) {
	var list []Copy
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<30)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var c Copy
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, ErrCopy.Explain("line %d: %v", n, err)
		}
		for _, p := range c.Checkpoints {
			if p.Tenant != c.Tenant {
				return nil, ErrCopy.Explain("line %d: checkpoint %d is of tenant %d, the copy of tenant %d", n, p.N, p.Tenant, c.Tenant)
			}
		}
		list = append(list, c)
	}
	return list, lines.Err()
}
