package ledger

import (
	"strings"

	"github.com/cashlesscity/citygate"
)

// The accounts of a tenant's book, one constructor for each kind. An account's
// name is its kind, a colon and what it is about; every currency has its own
// balance.

// RiderReceivable is what an account of ours owes for fares not yet collected.
func RiderReceivable(account citygate.UUID) string { return "rider_receivable:" + account.String() }

// RiderDebt is what an account of ours owes after a declined charge.
func RiderDebt(account citygate.UUID) string { return "rider_debt:" + account.String() }

// InterbookReceivable is what issuer owes us for rides its riders took with us.
func InterbookReceivable(issuer citygate.TenantID) string {
	return "interbook_receivable:" + issuer.String()
}

// InterbookPayable is what we owe operator for rides our riders took with it.
func InterbookPayable(operator citygate.TenantID) string {
	return "interbook_payable:" + operator.String()
}

// Payable is what we owe a payee: the operator itself, a vehicle's owner, a driver.
func Payable(payee string) string { return "payable:" + payee }

// ProviderReceivable is what the provider of a contract took from riders and
// has not paid to our bank yet.
func ProviderReceivable(contract string) string { return "provider_receivable:" + contract }

// ProviderFeeExpense is what the provider of a contract keeps. Passing it back
// to the operators empties the account.
func ProviderFeeExpense(contract string) string { return "provider_fee_expense:" + contract }

// Uncollected is what operator bears of fares that riders still owe us: the
// other side of the riders' debts, until they pay.
func Uncollected(operator citygate.TenantID) string { return "uncollected:" + operator.String() }

// CoveredBy is what provider (of a contract) or platform bears of debts that riders
// still owe: the other side of what is claimed from it, until they pay.
func CoveredBy(bearer, contract string) string {
	if contract == "" {
		return "covered:" + bearer
	}
	return "covered:" + bearer + ":" + contract
}

// PlatformReceivable is what the platform owes us of debts that it bears. The platform
// keeps no book: it is no tenant.
func PlatformReceivable() string { return "platform_receivable" }

// BadDebt is what we lost by debts that we bore and wrote off.
func BadDebt() string { return "bad_debt" }

// RecoveryIncome is what riders paid of those after all.
func RecoveryIncome() string { return "recovery_income" }

// ProviderFeeBorne is what the provider of a contract kept of payments that were ours
// and not an operator's, as we had paid the operator before.
func ProviderFeeBorne(contract string) string { return "provider_fee_borne:" + contract }

// Suspense is what the provider of a contract owes us outside its bills, by a
// person's decision, or, if negative, money it paid us that is not known to be
// ours. A later bill or payment back sets it off.
func Suspense(contract string) string { return "suspense:" + contract }

// WriteOff is what was given up of a difference with the provider of a contract:
// a loss, or a gain if it is negative.
func WriteOff(contract string) string { return "writeoff:" + contract }

// ExchangeDifference is what the provider of a contract settled less than riders
// were charged who paid in another currency, or more if it is negative, fees on
// what it settled included. It is the issuer's: operators get their fares whole.
func ExchangeDifference(contract string) string { return "exchange_difference:" + contract }

// SubsidyReceivable is what a funder (a city, a programme, a provider's campaign)
// owes for what riders paid less.
func SubsidyReceivable(funder string) string { return "subsidy_receivable:" + funder }

// SubsidyPayable is what a payee gets of it once the funder has paid. It is not
// part of what settlement pays out of riders' money.
func SubsidyPayable(payee string) string { return "subsidy_payable:" + payee }

// Prepaid is what was paid for a product that a rider holds and not used yet: we
// owe rides for it, or the money back. The name is the sale's id.
func Prepaid(sale citygate.UUID) string { return PrefixPrepaid + sale.String() }

// ProductPayable is what a payee has earned by rides on products that were paid
// for beforehand, until the next window is paid: then it is payable.
func ProductPayable(payee string) string { return "product_payable:" + payee }

// TillUncleared is what customers paid at a payee's tills, less the provider's fee, and
// no bill has shown yet.
func TillUncleared(payee string) string { return PrefixTillUncleared + payee }

// TillPayable is what a payee has earned at its tills, until the next window is paid:
// then it is payable. A refund afterwards takes it below zero.
func TillPayable(payee string) string { return "till_payable:" + payee }

// SalesFee is what the provider of a contract kept of products' prices. The
// seller bears it: no operator's fare was collected.
func SalesFee(contract string) string { return "sales_fee:" + contract }

// ProductIncome is what was left of products that nobody used to the end.
func ProductIncome() string { return "product_income" }

// ReversalFee is what the provider of a contract kept for payments that it took back.
// It is the issuer's, whose contract it is.
func ReversalFee(contract string) string { return "reversal_fee:" + contract }

// Bank is the tenant's bank account.
func Bank() string { return "bank" }

// The prefixes of accounts, for [Balances] and [CheckClearing].
const (
	PrefixRiderReceivable     = "rider_receivable:"
	PrefixRiderDebt           = "rider_debt:"
	PrefixInterbookReceivable = "interbook_receivable:"
	PrefixInterbookPayable    = "interbook_payable:"
	PrefixPayable             = "payable:"
	PrefixProviderReceivable  = "provider_receivable:"
	PrefixProviderFeeExpense  = "provider_fee_expense:"
	PrefixUncollected         = "uncollected:"
	PrefixCovered             = "covered:"
	PrefixSuspense            = "suspense:"
	PrefixWriteOff            = "writeoff:"
	PrefixPrepaid             = "prepaid:"
	PrefixBank                = "bank"
	PrefixTillUncleared       = "till_uncleared:"
)

// interbookSide reads the account of an interbook transfer: which tenant it
// speaks of, and whether this book is the operator's.
func interbookSide(account string) (other string, operator, ok bool) {
	if other, ok = strings.CutPrefix(account, PrefixInterbookReceivable); ok {
		return other, true, true
	}
	other, ok = strings.CutPrefix(account, PrefixInterbookPayable)
	return other, false, ok
}
