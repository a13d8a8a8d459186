package load

import (
	"fmt"
	"io"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// VerifyLimit checks the codes of the first taps of a stream on all cores, with
// an empty cache of the gateway's size and nothing else to do, and gives how long
// it took: what intake would take if everything around it cost nothing.
func VerifyLimit(batches io.Reader, taps int, keys code.KeySource, clock citygate.Clock) (checked int, took time.Duration, err error) {
	codes := make([][]byte, 0, taps)
	err = Read(batches, func(raw []byte) (bool, error) {
		b, err := tap.ParseBatch(raw)
		if err != nil {
			return false, err
		}
		records, err := b.Records()
		if err != nil {
			return false, err
		}
		for i := range records {
			codes = append(codes, records[i].Evidence)
		}
		return len(codes) < taps, nil
	})
	if err != nil {
		return 0, 0, err
	}
	codes = codes[:min(taps, len(codes))]
	schemes, cache := code.NewDispatcher(ct1.Scheme{}), code.NewCredentials(1<<17)
	start := clock()
	err = parallel(len(codes), func(i int) error {
		var c code.Code
		if err := schemes.Parse(codes[i], &c); err != nil {
			return err
		}
		if v := schemes.Verify(&c, keys, cache); v.Outcome != code.Accept {
			return fmt.Errorf("load: code %d of %s: %s", i, c.Rider, v.Reason)
		}
		return nil
	})
	return len(codes), clock().Sub(start), err
}
