package openloop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// ErrMethod says that a tool named a call that this package does not speak.
var ErrMethod = &citygate.Code{Name: "openloop.method", Kind: citygate.Invalid, Title: "There is no such operation of the processor here; name one of the list."}

// A Standing is how an answer leaves what was asked for.
type Standing string

// The standings. The zero value is Open, so that what nobody thought of is never
// taken for an answer.
const (
	Open    Standing = ""        // it may have happened or happen yet: ask again
	Done    Standing = "done"    // the answer is final and says yes
	Refused Standing = "refused" // the answer is final and says no
)

// An Answer is what the processor said to one call. It was proven.
type Answer struct {
	Body     []byte // byte for byte as received
	Standing Standing
	Why      string // why it is open or refused, in the processor's words
}

// Ops lists the names of the operations that this package speaks.
func Ops() []string {
	return []string{"authorize", "capture", "pay", "query", "refund", "verify", "void"}
}

// Exec sends one operation with the fields of biz; order and transaction go into
// the path, and transaction is the first if it is not there. It is for tools: the
// gateway uses the methods of driver's interfaces, which read the same tables.
//
// An error that is [driver.ErrNotPerformed] means that nothing was sent; after any
// other nobody can say.
func (p *Provider) Exec(ctx context.Context, op string, biz json.RawMessage) (Answer, error) {
	if !slices.Contains(Ops(), op) {
		return Answer{}, ErrMethod.Explain("%q; there are %s", op, strings.Join(Ops(), ", "))
	}
	fields := map[string]any{}
	if len(biz) > 0 && json.Unmarshal(biz, &fields) != nil {
		return Answer{}, fmt.Errorf("%w: openloop: want a JSON object", driver.ErrNotPerformed)
	}
	text := func(name, otherwise string) string {
		v, ok := fields[name].(string)
		delete(fields, name)
		if !ok || v == "" {
			return otherwise
		}
		return v
	}
	order, id := text("order", ""), text("transaction", firstTransaction)
	if order == "" {
		return Answer{}, fmt.Errorf("%w: openloop: order is missing", driver.ErrNotPerformed)
	}
	method, body := http.MethodPut, []byte(nil)
	if op == "query" {
		method = http.MethodGet
	} else {
		fields["operation"] = strings.ToUpper(op)
		var err error
		if body, err = json.Marshal(fields); err != nil {
			return Answer{}, fmt.Errorf("%w: openloop: the request cannot be written", driver.ErrNotPerformed)
		}
	}
	status, raw, err := p.call(ctx, method, "/orders/"+url.PathEscape(order)+"/transactions/"+url.PathEscape(id), body, wire.CallLimit)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Body: raw}
	t, err := p.transaction(status, raw, order, id)
	switch {
	case err != nil && notTaken[errorOf(raw)]:
		a.Standing, a.Why = Refused, errorOf(raw)
		return a, nil
	case err != nil:
		return Answer{}, err
	}
	a.Why = t.why()
	switch {
	case t.Error != "" || t.Voided:
	case outcomes[t.Status] == driver.Succeeded:
		a.Standing, a.Why = Done, ""
	case outcomes[t.Status] == driver.Declined:
		a.Standing = Refused
	}
	if t.Voided {
		a.Standing, a.Why = Refused, "VOIDED"
	}
	return a, nil
}

func errorOf(raw []byte) string {
	var t transaction
	if json.Unmarshal(raw, &t) != nil {
		return ""
	}
	return t.Error
}
