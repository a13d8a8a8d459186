package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
)

// What every tenant of the benchmark has, besides the built-in roles.
const (
	authzRules    = 40 // of its own making, in eight roles
	authzRoles    = 8
	authzUsers    = 20
	authzRequests = 200_000
)

// An authzRow is the cost of deciding, at so many tenants.
type authzRow struct {
	Tenants int     `json:"tenants"`
	Rules   int     `json:"rules"`
	Users   int     `json:"users"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	firstUS float64 // casbin's own answer, before it is kept
	floorUS float64 // p99 of a bare read: a map's entry, and one line of the tenant's memory behind it
}

func newBenchAuthzCommand(sys *system) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "authz",
		Short: "Decide who may do what, at 1 and at 10,000 tenants",
		Long: `Makes an enforcer for each of 1 and of 10,000 tenants, each with 40 rules of its own making besides the
built-in roles and 20 users, and asks 200,000 times whether a random user of a random tenant may do one of
eight things. Enforcers are warm: each has been asked everything once before; without --json the first
answers, for which casbin reads the rules, are given too, and the p99 of a bare read of one random line of
as much memory, found by the tenant's number: what grows with the tenants is that, and not the deciding.
Times are of one decision with the look-up of the tenant's enforcer, in microseconds.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var rows []authzRow
			for _, tenants := range []int{1, 10_000} {
				row, err := benchAuthz(tenants)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			if asJSON {
				return json.NewEncoder(sys.Stdout).Encode(map[string]any{"rows": rows})
			}
			for _, r := range rows {
				if _, err := fmt.Fprintf(sys.Stdout, "%6d tenants: p50 %.2f us, p99 %.2f us; first answers %.1f us; a bare read, p99 %.2f us\n", r.Tenants, r.P50, r.P99, r.firstUS, r.floorUS); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}

// authzAsked are the permissions that the benchmark asks for.
var authzAsked = []authz.Permission{
	{Resource: "money", Verb: "read"}, {Resource: "rider", Verb: "write"}, {Resource: "fleet", Verb: "write"}, {Resource: "settlement", Verb: "release"},
	{Resource: "recon", Verb: "write"}, {Resource: "access", Verb: "write"}, {Resource: "policy", Verb: "publish"}, {Resource: "audit", Verb: "read"},
}

func authzPolicy(tenant citygate.TenantID, r *rand.Rand) authz.Policy {
	p := authz.Policy{Tenant: tenant, Version: 1, Members: map[string][]authz.Role{}}
	all := authz.Permissions()
	for i := range authzRules {
		need := all[r.IntN(len(all))]
		for need.Resource == "platform" || need.Resource == "quota" {
			need = all[r.IntN(len(all))]
		}
		p.Grants = append(p.Grants, authz.Grant{Role: authz.Role(fmt.Sprintf("desk_%d", i%authzRoles)), Permission: need})
	}
	builtin := authz.Roles()
	for i := range authzUsers {
		p.Members[authzUser(i)] = []authz.Role{builtin[1+r.IntN(len(builtin)-1)], p.Grants[r.IntN(authzRoles)].Role}
	}
	return p
}

func authzUser(i int) string { return fmt.Sprintf("user:%d", i) }

func benchAuthz(tenants int) (authzRow, error) {
	r := rand.New(rand.NewPCG(1, uint64(tenants)))
	book := authz.NewBook()
	enforcers := make(map[citygate.TenantID]*authz.Enforcer, tenants)
	var first []time.Duration
	for i := range tenants {
		id := citygate.TenantID(i + 1)
		e, err := book.Compile(authzPolicy(id, r))
		if err != nil {
			return authzRow{}, err
		}
		enforcers[id] = e
		for n := range authzUsers {
			for _, need := range authzAsked {
				start := time.Now()
				e.Allows(authzUser(n), authz.Own, need)
				first = append(first, time.Since(start))
			}
		}
		if len(first) > authzRequests {
			first = first[:authzRequests]
		}
	}
	users := make([]string, authzUsers)
	for i := range users {
		users[i] = authzUser(i)
	}
	times := make([]time.Duration, authzRequests)
	for i := range times {
		tenant, user, need := citygate.TenantID(r.IntN(tenants)+1), users[r.IntN(authzUsers)], authzAsked[r.IntN(len(authzAsked))]
		start := time.Now()
		enforcers[tenant].Allows(user, authz.Own, need)
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	slices.Sort(first)
	return authzRow{
		Tenants: tenants, Rules: authzRules, Users: authzUsers, P50: micro(times[len(times)/2]), P99: micro(times[len(times)*99/100]),
		firstUS: micro(first[len(first)/2]), floorUS: authzFloor(tenants, r),
	}, nil
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// authzFloor is the p99 of reading one of 32 lines of a random tenant's own
// memory, with nothing decided: what the same machine takes for the fetch alone.
func authzFloor(tenants int, r *rand.Rand) float64 {
	type line [8]uint64
	memory := make(map[citygate.TenantID]*[32]line, tenants)
	for i := range tenants {
		memory[citygate.TenantID(i+1)] = &[32]line{{uint64(i)}}
	}
	var seen uint64
	times := make([]time.Duration, authzRequests)
	for i := range times {
		tenant, at := citygate.TenantID(r.IntN(tenants)+1), r.IntN(32)
		start := time.Now()
		seen += memory[tenant][at][0]
		times[i] = time.Since(start)
	}
	runtime.KeepAlive(seen)
	slices.Sort(times)
	return micro(times[len(times)*99/100])
}
