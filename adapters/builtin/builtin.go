// Package builtin lists the payment products that are part of the program: a line
// for each, and no other code names one. What is known of a product, its adapter
// and its simulator is in the product's folder.
package builtin

import (
	"github.com/cashlesscity/citygate/adapters"

	_ "github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	_ "github.com/cashlesscity/citygate/adapters/alipayplus/alipayplusproduct"
	_ "github.com/cashlesscity/citygate/adapters/openloop/openloopproduct"
	_ "github.com/cashlesscity/citygate/adapters/remote/remoteproduct"
	_ "github.com/cashlesscity/citygate/adapters/sandbox/sandboxproduct"
	_ "github.com/cashlesscity/citygate/adapters/unionpay/unionpayproduct"
	_ "github.com/cashlesscity/citygate/adapters/wechatpay/wechatpayproduct"
)

// Products gives the products, in a set of the caller's own: an installation with
// another adds it there, or a line above.
func Products() adapters.Set { return adapters.Registered() }
