package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
)

// adapterProducts are the products that citygate adapter knows, one line each;
// each lives in a file adapter_<name>.go.
var adapterProducts = []adapterProduct{
	alipayProduct,
	alipayplusProduct,
	openloopProduct,
	unionpayProduct,
	wechatpayProduct,
}

// An adapterProduct is what the tools for outsiders know of one product.
type adapterProduct struct {
	name    string
	account map[string]string // what account.json says when it is made

	// sim starts the product's simulator with the provider's side of dir.
	sim func(ctx context.Context, sys *system, dir partyDir, listen string) (runningSim, error)
	// call sends one method with the merchant's side of dir. biz is what the
	// caller wants in the request, as JSON; nil if nothing.
	call func(ctx context.Context, sys *system, dir partyDir, c adapterCall) (adapterAnswer, error)
}

// A runningSim is a simulator that takes requests.
type runningSim struct {
	address string // base URL
	stop    func()
}

type adapterCall struct {
	endpoint, op string
	biz          json.RawMessage
}

// An adapterAnswer is what came of a call. Body was proven to be the provider's.
type adapterAnswer struct {
	body    []byte
	unknown string // why the outcome is open; "" if it is not
	refused string // why the provider said a final no; "" if it did not
}

func newAdapterCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "adapter",
		Short: "Meet a payment product's protocol from either side; write and test an adapter",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newAdapterSimCommand(sys), newAdapterCallCommand(sys),
		newAdapterNewCommand(sys), newAdapterKeysCommand(sys), newAdapterTestCommand(sys), newAdapterContractCommand(sys))
	return c
}

const keysHelp = `--keys names the directory that both sides meet over; what is absent in it is made:

  app_private.pem, app_public.pem             the merchant's RSA key (PKCS #8, SPKI)
  provider_private.pem, provider_public.pem   the provider's
  account.json                                app_id, account, mchid, serials: what the product wants

With "mode": "certificate" in account.json the alipay simulator also makes app_cert.pem, provider_cert.pem and
provider_root_cert.pem, and both sides name their certificates. Of a pair whose public half alone is there nothing is made: the other side has the private half.`

func newAdapterSimCommand(sys *system) *cobra.Command {
	var listen, dir string
	c := &cobra.Command{
		Use:   "sim NAME --keys DIR [--listen ADDR]",
		Short: "Run a product's simulator as an HTTP server",
		Long: `Runs the simulator of a payment product until it is interrupted: an HTTP server that speaks the product's
protocol with its own book, keys, bills and faults. When it takes requests it prints one line,

  NAME simulator ready at http://ADDR

It checks every request's signature with app_public.pem and signs with provider_private.pem.
GET /sim/book shows what it moved; POST /sim/arm?next=lose makes the next request that moves money meet a fault
(lose, die, delay, garble, decline, partial, unsigned, bad_sign).

` + keysHelp,
		Example: `  citygate adapter sim alipay --listen 127.0.0.1:0 --keys ./keys`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, d, err := openAdapter(sys, args[0], dir)
			if err != nil {
				return err
			}
			sim, err := p.sim(cmd.Context(), sys, d, listen)
			if err != nil {
				return err
			}
			defer sim.stop()
			if _, err := fmt.Fprintf(sys.Stdout, "%s simulator ready at %s\n", p.name, sim.address); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	c.Flags().StringVar(&dir, "keys", "", "directory of the keys (required)")
	return c
}

func newAdapterCallCommand(sys *system) *cobra.Command {
	var endpoint, dir, biz string
	c := &cobra.Command{
		Use:   "call NAME OP --endpoint URL --keys DIR [name=value ...]",
		Short: "Send one request as the product's adapter does",
		Long: `Sends one request with the adapter's own code to a provider, a simulator or a server under test, and prints the
answer as it was received once its signature held.

OP is the provider's method without its common prefix, such as key.query or trade.query; a whole method is taken
as it is. Parameters are given as name=value, whose values are text, or as JSON by --biz; name=value wins.

Exit codes: 0 the answer is final and says yes; 1 the provider said a final no, or nothing was sent; 3 the outcome
is unknown: a line "unknown: WHY" is printed, after the answer if there was one that could be believed. An answer
that is not signed as it must be is never printed.

` + keysHelp,
		Example: `  citygate adapter call alipay key.query --endpoint http://127.0.0.1:4000 --keys ./keys
  citygate adapter call alipay trade.query out_trade_no=chg_1 --endpoint http://127.0.0.1:4000 --keys ./keys
  citygate adapter call alipay trade.refund --biz '{"out_trade_no":"chg_1","refund_amount":"1.00","out_request_no":"r1"}' --endpoint URL --keys ./keys`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if endpoint == "" {
				return &usageError{errors.New("adapter call needs --endpoint URL")}
			}
			content, err := bizOf(biz, args[2:])
			if err != nil {
				return err
			}
			p, d, err := openAdapter(sys, args[0], dir)
			if err != nil {
				return err
			}
			a, err := p.call(cmd.Context(), sys, d, adapterCall{endpoint: endpoint, op: args[1], biz: content})
			if err != nil {
				return err
			}
			return a.print(sys)
		},
	}
	flags := c.Flags()
	flags.StringVar(&endpoint, "endpoint", "", "URL of the provider (required)")
	flags.StringVar(&dir, "keys", "", "directory of the keys (required)")
	flags.StringVar(&biz, "biz", "", "parameters as JSON, sent byte for byte; - reads standard input")
	c.PreRunE = func(*cobra.Command, []string) (err error) {
		if biz == "-" {
			var text []byte
			text, err = io.ReadAll(io.LimitReader(sys.Stdin, 1<<20))
			biz = string(text)
		}
		return err
	}
	return c
}

// print gives the answer and the exit code of what it means.
func (a adapterAnswer) print(sys *system) error {
	if len(a.body) > 0 {
		if _, err := fmt.Fprintf(sys.Stdout, "%s\n", a.body); err != nil {
			return err
		}
	}
	switch {
	case a.unknown != "":
		if _, err := fmt.Fprintf(sys.Stdout, "unknown: %s\n", a.unknown); err != nil {
			return err
		}
		return &exitError{3, errors.New("the outcome is unknown: ask what became of it, or send the same again under the same number")}
	case a.refused != "":
		return errors.New("refused: " + a.refused)
	}
	return nil
}

// bizOf gives what a call's flags and arguments ask to send: nil if nothing. JSON
// alone is sent byte for byte.
func bizOf(text string, params []string) (json.RawMessage, error) {
	if text != "" && !json.Valid([]byte(text)) {
		return nil, &usageError{errors.New("adapter call: --biz is not JSON")}
	}
	if len(params) == 0 {
		if text == "" {
			return nil, nil
		}
		return json.RawMessage(text), nil
	}
	fields := map[string]any{}
	if text != "" {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber() // an amount is never a float
		if err := d.Decode(&fields); err != nil {
			return nil, &usageError{errors.New("adapter call: name=value beside --biz needs an object there")}
		}
	}
	for _, p := range params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, &usageError{fmt.Errorf("adapter call: %q: want name=value", p)}
		}
		fields[name] = value
	}
	return json.Marshal(fields)
}

// ErrNoProduct says that no product of that name is built in.
var errNoProduct = &citygate.Code{Name: "adapter.unknown_product", Kind: citygate.NotFound, Title: "There is no such product here; name one of the list."}

func openAdapter(sys *system, name, dir string) (adapterProduct, partyDir, error) {
	if dir == "" {
		return adapterProduct{}, partyDir{}, &usageError{errors.New("adapter: --keys DIR is missing")}
	}
	var names []string
	for _, p := range adapterProducts {
		if p.name == name {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return p, partyDir{}, err
			}
			d, err := openPartyDir(dir, p.account, sys.Random)
			return p, d, err
		}
		names = append(names, p.name)
	}
	return adapterProduct{}, partyDir{}, errNoProduct.Explain("%q; there are %s", name, strings.Join(names, ", "))
}
