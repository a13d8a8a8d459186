package ridership

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Fare is what a tap ended, as it was decided. Without a currency it is not known.
type Fare struct {
	Amount citygate.Money
	Capped bool
}

// TransactionColumns are the fields of TIDES fare_transactions that taps have.
// Which trip a vehicle was on, where in it, and which fare product or category of
// rider was charged is not in a tap.
var TransactionColumns = []string{"transaction_id", "service_date", "event_timestamp", "amount", "currency_type", "fare_action", "vehicle_id", "device_id", "stop_id", "num_riders", "fare_media_id",
	"fare_capped", "token_id"}

// A Teller writes taps as rows of TIDES fare_transactions.
type Teller struct {
	Zone   *time.Location // these two are the tenant's
	Digits int            // decimals of its currency
	Key    [32]byte       // drawn for one export, and forgotten
}

// Transaction gives the row of a tap and of the fare that it ended, if any.
func (t *Teller) Transaction(p *Tap, f *Fare) []string {
	amount, code := decimals(0, t.Digits), missing
	if f != nil && f.Amount.Currency != "" {
		amount, code = decimals(f.Amount.Minor, t.Digits), string(f.Amount.Currency)
	}
	action := "Enter"
	if p.Kind == Off {
		action = "Exit"
	}
	return []string{
		fmt.Sprintf("%d-%d", p.ID.Terminal, p.ID.Seq), p.Date.String(), p.At.In(t.Zone).Format(time.RFC3339), amount, code, action, p.Vehicle,
		strconv.FormatUint(uint64(p.ID.Terminal), 10), p.Stop, strconv.Itoa(p.Party), "Optical scan", strconv.FormatBool(f != nil && f.Capped), t.pseudonym(p.Rider, p.Date),
	}
}

// Period gives the first day of the period in which a rider has one pseudonym: the
// Monday of the week of a business date.
func Period(d citygate.Date) citygate.Date {
	return d.AddDays(-(int(d.Time().Weekday()) + 6) % 7)
}

// pseudonym names a rider for one week of one export. The week is part of what is
// hashed, so that the dates which two exports have in common join nothing of theirs
// but that week: with one name for a whole export, whoever finds the taps of a day
// in both would have the names of all their days.
func (t *Teller) pseudonym(r citygate.Rider, date citygate.Date) string {
	m := hmac.New(sha256.New, t.Key[:])
	var id [10]byte
	binary.BigEndian.PutUint32(id[:], uint32(r.Issuer))
	binary.BigEndian.PutUint16(id[4:], r.List)
	binary.BigEndian.PutUint32(id[6:], r.Index)
	_, _ = m.Write(id[:]) // a hash takes everything
	_, _ = m.Write([]byte(Period(date).String()))
	return hex.EncodeToString(m.Sum(nil)[:16])
}
