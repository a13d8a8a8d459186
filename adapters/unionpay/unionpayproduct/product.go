// Package unionpayproduct makes UnionPay a product of the program: for now the
// tools for those outside. An order there is its number and its time, which the
// gateway does not keep, so no contract of a tenant can be of it yet.
package unionpayproduct

import "github.com/cashlesscity/citygate/adapters"

func init() {
	adapters.Register(adapters.Product{Name: "unionpay", Title: "UnionPay payment codes, over the ACP gateway 5.1.0", Tools: &tools})
}
