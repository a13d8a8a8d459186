package rotating

import (
	"bytes"
	"io"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

func samples(random io.Reader) ([]code.Sample, error) {
	const at = 1_800_000_000
	raw := make([]byte, 20)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, err
	}
	secret, trust, name := citygate.NewSecret(raw), new(code.Trust), "0123456789abcdef"
	trust.AddSecret(ID, name, secret)
	var out []code.Sample
	for _, a := range []Algorithm{SHA1, SHA512} {
		p := Defaults()
		p.Algorithm = a
		s, err := New(p)
		if err != nil {
			return nil, err
		}
		want := make([]byte, p.Digits)
		a.Value(want, secret, uint64(at/p.Period+1))
		out = append(out, code.Sample{
			Name: string(a), Scheme: s, Keys: trust, Raw: append([]byte(name+"."), want...), At: at,
			Bare: func() bool {
				got := make([]byte, p.Digits)
				for step := at/p.Period - 1; step <= at/p.Period+1; step++ {
					a.Value(got, secret, uint64(step))
				}
				return bytes.Equal(got, want)
			},
		})
	}
	return out, nil
}
