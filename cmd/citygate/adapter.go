package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/builtin"
	"github.com/cashlesscity/citygate/adapters/party"
)

func newAdapterCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "adapter",
		Short: "Meet a payment product's protocol from either side; write and test an adapter",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newAdapterSimCommand(sys), newAdapterCallCommand(sys),
		newAdapterNewCommand(sys), newAdapterKeysCommand(sys), newAdapterTestCommand(sys), newAdapterContractCommand(sys),
		newAdapterFeedsCommand(sys), newAdapterTakeKeysCommand(sys), newAdapterPushesCommand(sys), newAdapterAgreementCommand(sys), newAdapterCardCommand(sys), newAdapterCardsCommand(sys), newAdapterRiderCommand(sys))
	return c
}

const keysHelp = `--keys names the directory that both sides meet over; what is absent in it is made:

  app_private.pem, app_public.pem             the merchant's RSA key (PKCS #8, SPKI)
  provider_private.pem, provider_public.pem   the provider's
  account.json                                app_id, account, mchid, serials: what the product wants; and,
                                              where you add it, notify_url: where it tells of payments

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
GET /sim/book shows what it moved; POST /sim/arm?next=lose makes the next request that moves money meet a fault:
drop (of any request: it never arrives), lose, die, delay, garble, decline, unsigned, bad_sign and others of the product's own; a word that it does not know is
answered with all it knows. After die it takes no requests until it comes back, a second later, at its address and with
its book; a simulator that is started anew has an empty one.

` + keysHelp,
		Example: `  citygate adapter sim alipay --listen 127.0.0.1:0 --keys ./keys`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			tools, m, done, err := openAdapter(sys, args[0], dir)
			if err != nil {
				return err
			}
			defer done()
			sim, err := tools.Sim(cmd.Context(), m, listen)
			if err != nil {
				return err
			}
			defer sim.Stop()
			if _, err := fmt.Fprintf(sys.Stdout, "%s simulator ready at %s\n", args[0], sim.Address); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	c.Flags().StringVar(&dir, "keys", "", "directory of the keys")
	required(c, "keys")
	return c
}

func newAdapterCallCommand(sys *system) *cobra.Command {
	var endpoint, dir, biz string
	c := &cobra.Command{
		Use:   "call NAME OP --endpoint URL --keys DIR [name=value ...]",
		Short: "Send one request as the product's adapter does",
		Long: `Sends one request with the adapter's own code to a provider, a simulator or a server under test, and prints the
answer as it was received once its signature held.

OP is the provider's method without its common prefix, such as key.query or trade.query, with dots or slashes; a whole
method, or path, is taken as it is, and an OP that there is not is answered with the list. Parameters are given as name=value, whose values are text, or as JSON by --biz; name=value wins.

Exit codes: 0 the answer is final and says yes; 1 the provider said a final no, or nothing was sent; 3 the outcome
is unknown: a line "unknown: WHY" is printed, after the answer if there was one that could be believed. An answer
that is not signed as it must be is never printed.

` + keysHelp,
		Example: `  citygate adapter call alipay key.query --endpoint http://127.0.0.1:4000 --keys ./keys
  citygate adapter call alipay trade.query out_trade_no=chg_1 --endpoint http://127.0.0.1:4000 --keys ./keys
  citygate adapter call alipay trade.refund --biz '{"out_trade_no":"chg_1","refund_amount":"1.00","out_request_no":"r1"}' --endpoint URL --keys ./keys`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			content, err := bizOf(biz, args[2:])
			if err != nil {
				return err
			}
			tools, m, done, err := openAdapter(sys, args[0], dir)
			if err != nil {
				return err
			}
			defer done()
			a, err := tools.Call(cmd.Context(), m, party.Call{Endpoint: endpoint, Op: args[1], Biz: content})
			if err != nil {
				return err
			}
			return printAnswer(sys, a)
		},
	}
	flags := c.Flags()
	flags.StringVar(&endpoint, "endpoint", "", "URL of the provider")
	flags.StringVar(&dir, "keys", "", "directory of the keys")
	flags.StringVar(&biz, "biz", "", "parameters as JSON, sent byte for byte; - reads standard input")
	c.PreRunE = func(*cobra.Command, []string) (err error) {
		if biz == "-" {
			var text []byte
			text, err = io.ReadAll(io.LimitReader(sys.Stdin, 1<<20))
			biz = string(text)
		}
		return err
	}
	required(c, "endpoint", "keys")
	return c
}

// printAnswer gives the answer and the exit code of what it means.
func printAnswer(sys *system, a party.Answer) error {
	if len(a.Body) > 0 {
		if _, err := fmt.Fprintf(sys.Stdout, "%s\n", a.Body); err != nil {
			return err
		}
	}
	switch {
	case a.Unknown != "":
		if _, err := fmt.Fprintf(sys.Stdout, "unknown: %s\n", a.Unknown); err != nil {
			return err
		}
		return &exitError{3, errors.New("the outcome is unknown: ask what became of it, or send the same again under the same number")}
	case a.Refused != "":
		return errors.New("refused: " + a.Refused)
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

// openAdapter gives a product's tools and the directory dir to meet over.
func openAdapter(sys *system, name, dir string) (tools *party.Tools, m party.Meeting, done func(), err error) {
	products := builtin.Products()
	tools = products[name].Tools
	if tools == nil {
		var names []string
		for _, n := range slices.Sorted(maps.Keys(products)) {
			if products[n].Tools != nil {
				names = append(names, n)
			}
		}
		return nil, m, nil, errNoProduct.Explain("%q; there are %s", name, strings.Join(names, ", "))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, m, nil, party.ErrKeys.Explain("%v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, m, nil, party.ErrKeys.Explain("%v", err)
	}
	done = func() { _ = root.Close() } // nothing was left unwritten
	opened, err := party.Open(root, tools.Account, sys.Random)
	if err != nil {
		done()
		return nil, m, nil, err
	}
	return tools, party.Meeting{Dir: opened, Clock: sys.Now, Random: sys.Random, HTTP: &http.Client{Timeout: 15 * time.Second}}, done, nil
}
