package foreign

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Code is what is on record of a code that a tap asked about.
type Code struct {
	Scheme   code.SchemeID
	Once     [32]byte // which display
	Operator citygate.TenantID
	Terminal uint32
	Seq      uint64
	At       time.Time
	State    string // waiting, sent, unknown, named or refused
	Reason   string // why refused
	Proven   bool
	Evidence []byte
	Attempts int
	GiveUpAt time.Time
	Rider    citygate.Rider // List and Index of a named one
}

const selectCodes = `
	SELECT ` + codeColumns + ` FROM foreign_codes c
	WHERE c.tenant_id = $1 AND ($2 = '' OR c.state = $2) AND (c.scheme, c.once) > ($3, $4)
	ORDER BY c.scheme, c.once LIMIT $5`

// Codes gives the codes in a state, "" for any, behind one by scheme and display.
func Codes(ctx context.Context, tx *pg.Tx, state string, scheme code.SchemeID, once []byte, limit int) ([]Code, error) {
	if once == nil {
		once = []byte{}
	}
	rows, err := collectRows(tx.Query(ctx, selectCodes, tx.Tenant, state, string(scheme), once, limit))
	out := make([]Code, len(rows))
	for i, r := range rows {
		out[i] = Code{r.scheme, r.once, r.operator, r.terminal, r.seq, r.at, r.state, string(r.reason), r.proven, r.evidence, r.tries, r.giveUp, r.rider}
	}
	return out, err
}
