package edge

import (
	"net/http"

	"github.com/cashlesscity/citygate/policies/authz"
)

// open marks what anybody may read.
var open = authz.Permission{Resource: "public", Verb: "read"}

// signsIn marks what somebody does who has no token yet: the body proves who it
// is, a person by an ID token, a device by a pairing code and its key.
var signsIn = authz.Permission{Resource: "public", Verb: "sign-in"}

// provesRider marks what riders do without a token: the body proves with a fresh
// code which credential asks, and that is all anybody learns of them.
var provesRider = signsIn

// secretAnswers are operations whose answer holds a secret that is shown once:
// it is not kept for repeats of the request.
var secretAnswers = map[string]bool{"create-api-key": true, "create-platform-api-key": true, "create-pairing-code": true}

// PermissionOf gives what an operation needs, by its id.
func PermissionOf(id string) (authz.Permission, bool) {
	p, ok := permissions[id]
	return p, ok && p.Valid()
}

// permissions says what each operation needs, by its id in the OpenAPI
// document. An operation that is not here does not register: the edge cannot be
// built. Who has which permission is in policies/authz.
var permissions = map[string]authz.Permission{
	// Tenants. What a caller may see of the list is decided tenant by tenant.
	"list-tenants":     {Resource: "tenant", Verb: "read"},
	"get-tenant":       {Resource: "tenant", Verb: "read"},
	"get-tenant-state": {Resource: "tenant", Verb: "read"},
	"put-tenant":       {Resource: "platform", Verb: "write"},

	"set-tenant-state": {Resource: "platform", Verb: "write"},
	"list-served":      {Resource: "tenant", Verb: "read"},
	"put-served":       {Resource: "platform", Verb: "write"},
	"get-checklist":    {Resource: "tenant", Verb: "read"},
	"get-clock":        {Resource: "tenant", Verb: "read"},
	"get-quota":        {Resource: "tenant", Verb: "read"},
	"put-quota":        {Resource: "quota", Verb: "write"}, // of those above the tenant alone
	"get-retention":    {Resource: "tenant", Verb: "read"},
	"put-retention":    {Resource: "tenant", Verb: "write"},
	"list-calendars":   {Resource: "tenant", Verb: "read"},
	"add-calendar":     {Resource: "settlement", Verb: "write"},
	"set-clock":        {Resource: "tenant", Verb: "write"},
	"advance-clock":    {Resource: "tenant", Verb: "write"},

	// Onboarding.
	"get-key":             {Resource: "key", Verb: "read"},
	"get-contract":        {Resource: "provider", Verb: "read"},
	"get-contract-secret": {Resource: "provider", Verb: "read"},
	"list-keys":           {Resource: "key", Verb: "read"},
	"ensure-key":          {Resource: "key", Verb: "rotate"},
	"rotate-key":          {Resource: "key", Verb: "rotate"},
	"activate-key":        {Resource: "key", Verb: "rotate"},
	"revoke-key":          {Resource: "key", Verb: "revoke"},
	"list-contracts":      {Resource: "provider", Verb: "read"},
	"list-adapters":       {Resource: "provider", Verb: "read"},
	"put-contract":        {Resource: "provider", Verb: "write"},
	"put-contract-secret": {Resource: "provider", Verb: "write"},
	"list-provider-feeds": {Resource: "provider", Verb: "read"},
	"list-denial-pushes":  {Resource: "provider", Verb: "read"},
	"list-provider-keys":  {Resource: "provider", Verb: "read"},
	"take-provider-keys":  {Resource: "provider", Verb: "write"},
	"list-notices":        {Resource: "recon", Verb: "read"},
	"resolve-notice":      {Resource: "recon", Verb: "write"},
	"notify":              signsIn, // the body is signed by the provider
	"request-code":        signsIn,
	"list-tariffs":        {Resource: "tariff", Verb: "read"},
	"get-tariff":          {Resource: "tariff", Verb: "read"},
	"publish-tariff":      {Resource: "tariff", Verb: "publish"},
	"restore-tariff":      {Resource: "tariff", Verb: "publish"},
	"get-acceptance":      {Resource: "policy", Verb: "read"},
	"put-acceptance":      {Resource: "policy", Verb: "publish"},
	"list-stops":          {Resource: "fleet", Verb: "read"},
	"put-stops":           {Resource: "fleet", Verb: "write"},
	// Terms with tenants of other trees.
	"list-roaming":    {Resource: "policy", Verb: "read"},
	"propose-roaming": {Resource: "policy", Verb: "publish"},
	"agree-roaming":   {Resource: "policy", Verb: "publish"},
	"end-roaming":     {Resource: "policy", Verb: "publish"},
	// Members of an integrated tariff, and their shares.
	"list-fare-members":   {Resource: "tariff", Verb: "read"},
	"propose-fare-member": {Resource: "tariff", Verb: "publish"},
	"agree-fare-member":   {Resource: "tariff", Verb: "publish"},
	"end-fare-member":     {Resource: "tariff", Verb: "publish"},
	"list-fare-shares":    {Resource: "tariff", Verb: "read"},
	"get-explanation":     {Resource: "money", Verb: "read"},
	"simulate-tariff":     {Resource: "tariff", Verb: "write"},
	// How many ride.
	"list-ridership-reports":   {Resource: "ridership", Verb: "read"},
	"get-ridership-report":     {Resource: "ridership", Verb: "read"},
	"get-ridership-table":      {Resource: "ridership", Verb: "read"},
	"publish-ridership-report": {Resource: "ridership", Verb: "publish"},
	"export-fare-transactions": {Resource: "taprow", Verb: "read"},
	// People, their keys and where they sign in.
	"list-members":   {Resource: "access", Verb: "read"},
	"get-member":     {Resource: "access", Verb: "read"},
	"get-role":       {Resource: "access", Verb: "read"},
	"get-issuer":     {Resource: "access", Verb: "read"},
	"add-member":     {Resource: "access", Verb: "write"},
	"put-member":     {Resource: "access", Verb: "write"},
	"remove-member":  {Resource: "access", Verb: "write"},
	"list-roles":     {Resource: "access", Verb: "read"},
	"put-role":       {Resource: "access", Verb: "write"},
	"remove-role":    {Resource: "access", Verb: "write"},
	"list-api-keys":  {Resource: "access", Verb: "read"},
	"create-api-key": {Resource: "access", Verb: "write"},
	"revoke-api-key": {Resource: "access", Verb: "write"},
	"list-issuers":   {Resource: "access", Verb: "read"},
	"put-issuer":     {Resource: "access", Verb: "write"},
	"remove-issuer":  {Resource: "access", Verb: "write"},
	"revoke-tokens":  {Resource: "access", Verb: "write"},
	"explain-access": {Resource: "access", Verb: "read"},
	"exchange-token": signsIn,

	// The platform's own people.
	"get-platform-member":            {Resource: "platform", Verb: "read"},
	"get-platform-issuer":            {Resource: "platform", Verb: "read"},
	"list-platform-members":          {Resource: "platform", Verb: "read"},
	"add-platform-member":            {Resource: "platform", Verb: "access"},
	"put-platform-member":            {Resource: "platform", Verb: "access"},
	"remove-platform-member":         {Resource: "platform", Verb: "access"},
	"list-platform-roles":            {Resource: "platform", Verb: "read"},
	"list-platform-api-keys":         {Resource: "platform", Verb: "read"},
	"create-platform-api-key":        {Resource: "platform", Verb: "access"},
	"revoke-platform-api-key":        {Resource: "platform", Verb: "access"},
	"list-platform-issuers":          {Resource: "platform", Verb: "read"},
	"put-platform-issuer":            {Resource: "platform", Verb: "access"},
	"remove-platform-issuer":         {Resource: "platform", Verb: "access"},
	"revoke-platform-tokens":         {Resource: "platform", Verb: "access"},
	"explain-platform-access":        {Resource: "platform", Verb: "read"},
	"list-platform-proposals":        {Resource: "platform", Verb: "read"},
	"get-platform-proposal":          {Resource: "platform", Verb: "read"},
	"approve-platform-proposal":      {Resource: "platform", Verb: "access"},
	"refuse-platform-proposal":       {Resource: "platform", Verb: "access"},
	"withdraw-platform-proposal":     {Resource: "platform", Verb: "write"},
	"get-platform-approval-settings": {Resource: "platform", Verb: "read"},
	"put-platform-approval-settings": {Resource: "platform", Verb: "access"},
	"exchange-platform-token":        signsIn,

	// Requests that need two persons.
	"list-proposals":        {Resource: "approval", Verb: "read"},
	"get-proposal":          {Resource: "approval", Verb: "read"},
	"approve-proposal":      {Resource: "approval", Verb: "write"},
	"refuse-proposal":       {Resource: "approval", Verb: "write"},
	"withdraw-proposal":     {Resource: "approval", Verb: "write"},
	"get-approval-settings": {Resource: "approval", Verb: "read"},
	"put-approval-settings": {Resource: "access", Verb: "write"},

	// Fleet and trust.
	"list-terminals":        {Resource: "fleet", Verb: "read"},
	"get-terminal-state":    {Resource: "fleet", Verb: "read"},
	"get-terminal-profile":  {Resource: "fleet", Verb: "read"},
	"enrol-terminal":        {Resource: "fleet", Verb: "write"},
	"set-terminal-state":    {Resource: "fleet", Verb: "write"},
	"set-terminal-profile":  {Resource: "fleet", Verb: "write"},
	"clear-terminal-flag":   {Resource: "fleet", Verb: "write"},
	"create-pairing-code":   {Resource: "fleet", Verb: "write"},
	"list-pairing-codes":    {Resource: "fleet", Verb: "read"},
	"withdraw-pairing-code": {Resource: "fleet", Verb: "write"},
	"pair-terminal":         signsIn,
	"list-vehicles":         {Resource: "fleet", Verb: "read"},
	"put-vehicles":          {Resource: "fleet", Verb: "write"},
	"list-payees":           {Resource: "payee", Verb: "read"},
	"put-payees":            {Resource: "payee", Verb: "write"},
	"assign":                {Resource: "payee", Verb: "write"},
	"get-payee-of-ride":     {Resource: "payee", Verb: "read"},
	"get-bundle-reach":      {Resource: "trust", Verb: "read"},

	// Rule sets.
	"list-policies":  {Resource: "policy", Verb: "read"},
	"get-policy":     {Resource: "policy", Verb: "read"},
	"check-policy":   {Resource: "policy", Verb: "write"},
	"replay-policy":  {Resource: "policy", Verb: "replay"},
	"publish-policy": {Resource: "policy", Verb: "publish"},
	"restore-policy": {Resource: "policy", Verb: "publish"},

	// Riders.
	"issue-credentials":   {Resource: "rider", Verb: "write"},
	"get-credential":      {Resource: "rider", Verb: "read"},
	"deny-credential":     {Resource: "rider", Verb: "write"},
	"lift-denial":         {Resource: "rider", Verb: "write"},
	"list-denials":        {Resource: "rider", Verb: "read"},
	"deny-latency":        {Resource: "rider", Verb: "read"},
	"get-account":         {Resource: "rider", Verb: "read"},
	"close-account":       {Resource: "rider", Verb: "write"},
	"get-payer":           {Resource: "rider", Verb: "read"},
	"get-concession":      {Resource: "rider", Verb: "read"},
	"put-payer":           {Resource: "rider", Verb: "write"},
	"ask-payer":           {Resource: "rider", Verb: "write"},
	"add-wallet-card":     {Resource: "rider", Verb: "write"},
	"list-wallet-cards":   {Resource: "rider", Verb: "read"},
	"get-wallet-card":     {Resource: "rider", Verb: "read"},
	"lock-wallet-card":    {Resource: "rider", Verb: "write"},
	"unlock-wallet-card":  {Resource: "rider", Verb: "write"},
	"open-agreement":      {Resource: "rider", Verb: "write"},
	"list-agreements":     {Resource: "rider", Verb: "read"},
	"get-agreement":       {Resource: "rider", Verb: "read"},
	"ask-agreement":       {Resource: "rider", Verb: "write"},
	"end-agreement":       {Resource: "rider", Verb: "write"},
	"challenge-device":    {Resource: "rider", Verb: "write"},
	"register-device":     {Resource: "rider", Verb: "write"},
	"renew-credential":    {Resource: "rider", Verb: "write"},
	"code-batch":          {Resource: "rider", Verb: "write"},
	"revoke-code-batch":   {Resource: "rider", Verb: "write"},
	"release-device":      {Resource: "rider", Verb: "write"},
	"find-device":         {Resource: "rider", Verb: "write"},
	"list-devices":        {Resource: "rider", Verb: "read"},
	"report-loss":         {Resource: "rider", Verb: "write"},
	"put-concession":      {Resource: "rider", Verb: "write"},
	"get-issuance-policy": {Resource: "policy", Verb: "read"},
	"put-issuance-policy": {Resource: "policy", Verb: "publish"},

	// Codes of other schemes.
	"get-code-scheme":         {Resource: "policy", Verb: "read"},
	"put-code-scheme":         {Resource: "policy", Verb: "publish"},
	"list-code-schemes":       {Resource: "policy", Verb: "read"},
	"register-foreign-riders": {Resource: "rider", Verb: "write"},
	"list-foreign-codes":      {Resource: "rider", Verb: "read"},

	// Money.
	"list-debts":             {Resource: "debt", Verb: "read"},
	"retry-debts":            {Resource: "debt", Verb: "write"},
	"write-off-debt":         {Resource: "debt", Verb: "write"},
	"collect-written-off":    {Resource: "debt", Verb: "write"},
	"list-disputes":          {Resource: "debt", Verb: "read"},
	"dispute-liability":      {Resource: "debt", Verb: "write"},
	"decide-dispute":         {Resource: "debt", Verb: "write"},
	"get-bearer-claims":      {Resource: "debt", Verb: "read"},
	"list-bearer-payments":   {Resource: "debt", Verb: "read"},
	"record-bearer-payment":  {Resource: "debt", Verb: "write"},
	"list-reversals":         {Resource: "debt", Verb: "read"},
	"record-reversal":        {Resource: "debt", Verb: "write"},
	"conclude-reversal":      {Resource: "debt", Verb: "write"},
	"list-refunds":           {Resource: "debt", Verb: "read"},
	"retry-refund":           {Resource: "debt", Verb: "write"},
	"list-carried":           {Resource: "settlement", Verb: "read"},
	"list-journeys":          {Resource: "money", Verb: "read"},
	"get-journey":            {Resource: "money", Verb: "read"},
	"refund-journey":         {Resource: "debt", Verb: "write"},
	"get-refund-rules":       {Resource: "debt", Verb: "read"},
	"put-refund-rules":       {Resource: "settlement", Verb: "write"},
	"list-catalogues":        {Resource: "tariff", Verb: "read"},
	"publish-catalogue":      {Resource: "tariff", Verb: "publish"},
	"list-rights":            {Resource: "rider", Verb: "read"},
	"give-right":             {Resource: "rider", Verb: "write"},
	"end-right":              {Resource: "rider", Verb: "write"},
	"list-sales":             {Resource: "rider", Verb: "read"},
	"get-sale":               {Resource: "rider", Verb: "read"},
	"sell-product":           {Resource: "rider", Verb: "write"},
	"refund-sale":            {Resource: "debt", Verb: "write"},
	"pay-at-till":            {Resource: "till", Verb: "charge"},
	"list-till-payments":     {Resource: "till", Verb: "read"},
	"get-till-payment":       {Resource: "till", Verb: "read"},
	"cancel-till-payment":    {Resource: "till", Verb: "charge"},
	"refund-till-payment":    {Resource: "till", Verb: "refund"},
	"rider-products":         provesRider,
	"rider-buy":              provesRider,
	"rider-holdings":         provesRider,
	"rider-refund":           provesRider,
	"list-risk-terms":        {Resource: "policy", Verb: "read"},
	"list-risk-flags":        {Resource: "rider", Verb: "read"},
	"acknowledge-risk-flag":  {Resource: "rider", Verb: "write"},
	"close-risk-flag":        {Resource: "rider", Verb: "write"},
	"publish-risk-terms":     {Resource: "policy", Verb: "publish"},
	"get-liability":          open,
	"inspect":                {Resource: "inspection", Verb: "check"},
	"rider-trips":            provesRider,
	"rider-trip":             provesRider,
	"rider-explanation":      provesRider,
	"rider-claim":            provesRider,
	"rider-debts":            provesRider,
	"rider-challenge":        provesRider,
	"rider-join":             provesRider,
	"rider-leave":            provesRider,
	"rider-joined":           provesRider,
	"rider-pay":              provesRider,
	"list-journey-rules":     {Resource: "policy", Verb: "read"},
	"publish-journey-rules":  {Resource: "policy", Verb: "publish"},
	"list-journey-facts":     {Resource: "policy", Verb: "read"},
	"record-journey-fact":    {Resource: "policy", Verb: "write"},
	"list-charges":           {Resource: "money", Verb: "read"},
	"list-balances":          {Resource: "money", Verb: "read"},
	"list-windows":           {Resource: "settlement", Verb: "read"},
	"list-settlement-terms":  {Resource: "settlement", Verb: "read"},
	"add-settlement-terms":   {Resource: "settlement", Verb: "write"},
	"list-payouts":           {Resource: "settlement", Verb: "read"},
	"release-payout":         {Resource: "settlement", Verb: "release"},
	"cancel-payout":          {Resource: "settlement", Verb: "release"},
	"redirect-payout":        {Resource: "settlement", Verb: "release"},
	"get-payout-rules":       {Resource: "settlement", Verb: "read"},
	"put-payout-rules":       {Resource: "settlement", Verb: "write"},
	"get-payout-file":        {Resource: "settlement", Verb: "read"},
	"list-reconciliation":    {Resource: "recon", Verb: "read"},
	"resolve-reconciliation": {Resource: "recon", Verb: "write"},
	"list-bills":             {Resource: "recon", Verb: "read"},

	"list-reconciliation-history": {Resource: "recon", Verb: "read"},

	// Audit logs.
	"list-audit":                      {Resource: "audit", Verb: "read"},
	"list-audit-checkpoints":          {Resource: "audit", Verb: "read"},
	"list-platform-audit":             {Resource: "platform", Verb: "read"},
	"list-platform-audit-checkpoints": {Resource: "platform", Verb: "read"},

	// Signed by a terminal's key: a device is the role terminal.
	"upload-taps": {Resource: "tap", Verb: "write"},

	// Signed by us, or of no worth to hide.
	"get-bundle":            open,
	"list-deny-lists":       open,
	"list-updates":          open,
	"get-deny-list":         open,
	"get-deny-list-version": open,
	"get-deny-list-delta":   open,
	"get-heartbeat":         open,
	"get-platform-keys":     open,
	"get-tenant-keys":       open,
	"health":                open,
	"list-problems":         open,
	"get-problem":           open,
}

// An operation is what the guard knows about a route.
type operation struct {
	class  class
	id     string
	needs  authz.Permission
	writes bool
}

// streamed are operations whose answer is too long to be held back for an entity
// tag.
var streamed = map[string]bool{"export-fare-transactions": true}

// admit adds a route to those that answer. It panics for an operation that
// permissions does not list: a route that nobody thought about must not serve.
func (e *Edge) admit(k class, method, path, id string) {
	needs, listed := permissions[id]
	fits := needs.Valid() && (k == token || k == terminal)
	if fits = fits || (needs == open && k == public) || (needs == signsIn && k == proof); !listed || !fits {
		panic("operation " + id + " (" + method + " " + path + ") has no permission that fits its class in gateway/edge/permissions.go: add its line there")
	}
	e.operations[method+" "+path] = operation{k, id, needs, method != http.MethodGet && method != http.MethodHead}
}
