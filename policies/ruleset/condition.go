package ruleset

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"

	"github.com/cashlesscity/citygate/policies/accept"
)

// costMax bounds a condition, in units of CEL: about a comparison each. It is
// held by the estimate when a set is read and by a count when one runs.
const costMax = 100_000

// The variables of conditions.
var (
	tapVariables = func() map[string]*cel.Type {
		vars := map[string]*cel.Type{}
		for f := accept.Fact(0); f.String() != "unknown"; f++ {
			vars[f.String()] = cel.IntType
			if f.Text() {
				vars[f.String()] = cel.StringType
			}
		}
		vars[accept.FactClockOK.String()] = cel.BoolType
		vars["areas"] = cel.MapType(cel.StringType, cel.ListType(cel.StringType))
		return vars
	}()
	routeVariables = map[string]*cel.Type{
		"wallet": cel.StringType, "contract": cel.StringType, "currency": cel.StringType, "kind": cel.StringType,
		"amount": cel.IntType, "attempt": cel.IntType, "minute": cel.IntType, "weekday": cel.IntType, "date": cel.IntType,
		"up": cel.MapType(cel.StringType, cel.BoolType),
	}
	liabilityVariables = map[string]*cel.Type{
		"operator": cel.IntType, "amount": cel.IntType, "currency": cel.StringType, "contract": cel.StringType, "age_days": cel.IntType, "date": cel.IntType,
		"reversed": cel.BoolType,
	}
)

func environment(vars map[string]*cel.Type, tableOnly bool) *cel.Env {
	opts := make([]cel.EnvOption, 0, len(vars)+3)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		opts = append(opts, cel.Variable(name, vars[name]))
	}
	opts = append(opts, cel.ParserRecursionLimit(100), cel.ParserExpressionSizeLimit(SourceMax))
	if tableOnly {
		opts = append(opts, cel.ClearMacros())
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		panic(err) // constant options
	}
	return env
}

var (
	tapEnv       = environment(tapVariables, true)
	routeEnv     = environment(routeVariables, false)
	liabilityEnv = environment(liabilityVariables, false)
)

// sizes bounds what CEL cannot see the size of.
type sizes struct{}

func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	most := uint64(64) // a text, or the contracts and areas of a set
	if path := n.Path(); len(path) > 1 && path[0] == "areas" {
		most = areaMax
	}
	return &checker.SizeEstimate{Min: 0, Max: most}
}

func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// A compiled is a condition in CEL.
type compiled struct {
	tree    *ast.AST
	program cel.Program
}

// condition compiles one expression that stands at at in the file; a generated one
// stands nowhere. Faults go to the compiler.
func (c *compiler) condition(env *cel.Env, rule string, at text, generated string) *compiled {
	source := generated
	if source == "" {
		source = at.S
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			message, _, _ := strings.Cut(e.Message, "\n")
			c.fault(rule, named(message), at, e.Location.Line(), e.Location.Column(), "%s", strings.TrimSuffix(message, " (in container '')"))
		}
		return nil
	}
	if checked.OutputType() != cel.BoolType {
		c.fault(rule, "", at, 1, 0, "the condition gives %s, want true or false", checked.OutputType())
		return nil
	}
	cost, err := env.EstimateCost(checked, sizes{})
	if err != nil || cost.Max > costMax {
		c.fault(rule, "", at, 1, 0, "the condition may cost %d, want at most %d: simplify it", cost.Max, uint64(costMax))
		return nil
	}
	program, err := env.Program(checked, cel.CostLimit(costMax), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		c.fault(rule, "", at, 1, 0, "%v", err)
		return nil
	}
	return &compiled{checked.NativeRep(), program}
}

var undeclared = regexp.MustCompile(`undeclared reference to '([^']+)'`)

// named gives the variable that a message of CEL is about.
func named(message string) string {
	if m := undeclared.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}

// fault notes what is wrong at a line and column of an expression.
func (c *compiler) fault(rule, variable string, at text, line, column int, format string, args ...any) {
	f := Fault{Line: at.Line, Column: at.Column, Rule: rule, Variable: variable, Message: fmt.Sprintf(format, args...)}
	lines := strings.Split(at.S, "\n")
	if line >= 1 && line <= len(lines) && at.Line+line-1 <= len(c.lines) {
		// However YAML writes it, the line of the expression is somewhere in the line of the file.
		if i := strings.Index(c.lines[at.Line+line-2], strings.TrimSpace(lines[line-1])); i >= 0 && strings.TrimSpace(lines[line-1]) != "" {
			indent := len(lines[line-1]) - len(strings.TrimLeft(lines[line-1], " "))
			f.Line, f.Column = at.Line+line-1, i+max(0, column-indent)+1
		}
	}
	c.faults = append(c.faults, f)
}

// eval runs a condition. What fails at run time (an index that is not there, cost)
// is an error: the caller passes the rule over and says so.
func (c *compiled) eval(vars map[string]any) (bool, error) {
	out, _, err := c.program.Eval(vars)
	if err != nil {
		return false, err
	}
	held, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the condition gave %s", out.Type())
	}
	return held, nil
}

func (c *compiler) plain(rule string, at text, format string, args ...any) {
	c.faults = append(c.faults, Fault{Line: at.Line, Column: at.Column, Rule: rule, Message: fmt.Sprintf(format, args...)})
}
