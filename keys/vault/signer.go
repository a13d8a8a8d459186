package vault

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

const (
	// batchMax and batchBytes bound one request: in batches of 200 the round
	// trip no longer counts, and Vault takes 32 MiB.
	batchMax   = 200
	batchBytes = 8 << 20
	// messageMax is the longest Ed25519 message: Vault takes strings of 1 MiB in
	// its JSON (max_json_string_value_length), and base64 makes four bytes of
	// three.
	messageMax = 3 << 18
	// lookAgain is how old what we know of a key may be when something is signed
	// with it: somebody may have made it exportable since.
	lookAgain = 10 * time.Minute
)

// types are Vault's names of the algorithms.
var types = map[keys.Algorithm]string{keys.Ed25519: "ed25519", keys.P256: "ecdsa-p256", keys.RSA2048: "rsa-2048"}

// A key is what we know of one.
type key struct {
	algorithm keys.Algorithm
	versions  []keys.Version // oldest first
	read      time.Time
}

func (k *key) has(version int) bool {
	return slices.ContainsFunc(k.versions, func(v keys.Version) bool { return v.Version == version })
}

// Create implements [keys.Signer]. RSA is for keys of providers alone.
func (s *Store) Create(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose, algorithm keys.Algorithm) error {
	if err := purpose.Check(tenant); err != nil {
		return err
	}
	kind, ok := types[algorithm]
	if !ok || algorithm == keys.RSA2048 && !strings.HasPrefix(string(purpose), string(keys.ProviderPurpose(""))) {
		return keys.ErrInvalid.Explain("key %s of tenant %d cannot be of algorithm %q", purpose, tenant, string(algorithm))
	}
	k, err := s.fetch(ctx, tenant, purpose)
	if errors.Is(err, keys.ErrNotFound) {
		// Making a key that is there changes nothing, so this may be sent twice.
		_, err = s.administer(ctx, tenant, true, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
			return vault.WriteWithContext(ctx, s.keyPath(tenant, purpose), map[string]any{"type": kind})
		})
		if err == nil {
			k, err = s.fetch(ctx, tenant, purpose)
		}
	}
	switch {
	case err != nil:
		return s.orGarbled(err)
	case k.algorithm != algorithm:
		return keys.ErrConflict.Explain("key %s of tenant %d is %s, not %s", purpose, tenant, k.algorithm, algorithm)
	}
	return nil
}

// administer makes a request under the identity that may change things.
func (s *Store) administer(ctx context.Context, tenant citygate.TenantID, safe bool, do request) (*api.Secret, error) {
	if s.admin == nil {
		return nil, keys.ErrForbidden.Because(nil, "this process has no administering identity at Vault")
	}
	return s.call(ctx, tenant, s.admin, safe, do)
}

// Rotate implements [keys.Signer]. The request is sent once. If its reply is
// lost the key is read again: a version more than before is the one. Otherwise
// the outcome is unknown, as the request may still be under way; calling again
// may then make a second version, so [keys.Ring.Rotate] first uses what it finds.
func (s *Store) Rotate(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) (int, error) {
	if err := purpose.Check(tenant); err != nil {
		return 0, err
	}
	before, err := s.fetch(ctx, tenant, purpose)
	if err != nil {
		return 0, s.orGarbled(err)
	}
	got, err := s.administer(ctx, tenant, false, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
		return vault.WriteWithContext(ctx, s.rotatePath(tenant, purpose), nil)
	})
	if err == nil && got != nil {
		if version, err := intOf(got.Data["latest_version"]); err == nil && version > 0 {
			return version, nil
		}
	}
	if err != nil && !mayHaveHappened(err) {
		return 0, s.orGarbled(err)
	}
	after, readErr := s.fetch(context.WithoutCancel(ctx), tenant, purpose)
	if readErr == nil && latest(after) > latest(before) {
		return latest(after), nil
	}
	return 0, unknown("rotation", errors.Join(err, readErr))
}

func latest(k *key) int { return k.versions[len(k.versions)-1].Version }

// mayHaveHappened reports whether an error leaves open if Vault did what was
// asked: the reply was lost, and Vault did not refuse.
func mayHaveHappened(err error) bool {
	var u *keys.Unavailable
	if errors.Is(err, context.Canceled) {
		return true
	}
	return errors.As(err, &u) && (u.Reason == keys.Down || u.Reason == keys.Slow) && !errors.Is(err, errTooSoon)
}

func unknown(what string, cause error) error {
	return &keys.Unavailable{Reason: keys.Down, After: time.Second, Cause: fmt.Errorf("the outcome of the %s is unknown: %w", what, cause)}
}

// Versions implements [keys.Signer]. While Vault cannot be asked it answers from
// memory, for as long as [Config.Remember].
func (s *Store) Versions(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) ([]keys.Version, error) {
	if err := purpose.Check(tenant); err != nil {
		return nil, err
	}
	k, err := s.fetch(ctx, tenant, purpose)
	if errors.Is(err, keys.ErrUnavailable) {
		if held := s.remembered(tenant, purpose); held != nil && s.clock().Sub(held.read) <= s.remember {
			k, err = held, nil
		}
	}
	if err != nil {
		return nil, s.orGarbled(err)
	}
	return slices.Clone(k.versions), nil
}

func (s *Store) remembered(tenant citygate.TenantID, purpose keys.Purpose) *key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[KeyName(tenant, purpose)]
}

// fetch reads a key, refuses it if it is not safe, and remembers it.
func (s *Store) fetch(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) (*key, error) {
	got, err := s.call(ctx, tenant, s.sign, true, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
		return vault.ReadWithContext(ctx, s.keyPath(tenant, purpose))
	})
	if err != nil {
		return nil, err
	}
	if got == nil {
		return nil, keys.ErrNotFound.Explain("tenant %d has no key %s", tenant, purpose)
	}
	k, err := parseKey(got.Data)
	name := KeyName(tenant, purpose)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.known, name)
		return nil, fmt.Errorf("key %s of tenant %d: %w", purpose, tenant, err)
	}
	k.read = s.clock()
	s.known[name] = k
	return k, nil
}

// forSigning gives a key that is known to be safe and has the version.
func (s *Store) forSigning(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose, version int) (*key, error) {
	if err := purpose.Check(tenant); err != nil {
		return nil, err
	}
	k := s.remembered(tenant, purpose)
	if k == nil || !k.has(version) || s.clock().Sub(k.read) > lookAgain {
		var err error
		if k, err = s.fetch(ctx, tenant, purpose); err != nil {
			return nil, s.orGarbled(err)
		}
	}
	if !k.has(version) { // 0, Vault's "the latest", among others
		return nil, keys.ErrNotFound.Explain("key %s of tenant %d has no version %d", purpose, tenant, version)
	}
	return k, nil
}

// Sign implements [keys.Signer]. A message for Ed25519 may have 768 KiB, what
// Vault takes in one string; other algorithms sign a digest made here.
func (s *Store) Sign(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
	k, err := s.forSigning(ctx, tenant, purpose, version)
	if err != nil {
		return nil, err
	}
	out := make([]keys.Signature, len(messages))
	var b batch
	for i, m := range messages {
		limit := keys.MessageMax
		if k.algorithm == keys.Ed25519 {
			limit = min(limit, messageMax)
		}
		if len(m) > limit {
			out[i].Err = keys.ErrInvalid.Explain("a message of %d bytes; at most %d can be signed", len(m), limit)
			continue
		}
		if k.algorithm != keys.Ed25519 {
			digest := sha256.Sum256(m)
			m = digest[:]
		}
		if b.full(m) {
			if err := s.signBatch(ctx, tenant, purpose, version, k, &b, out); err != nil {
				return nil, err
			}
		}
		b.add(i, m)
	}
	if err := s.signBatch(ctx, tenant, purpose, version, k, &b, out); err != nil {
		return nil, err
	}
	return out, nil
}

// SignDigest implements [keys.DigestSigner].
func (s *Store) SignDigest(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose, version int, digest []byte) ([]byte, error) {
	k, err := s.forSigning(ctx, tenant, purpose, version)
	if err != nil {
		return nil, err
	}
	if k.algorithm == keys.Ed25519 || len(digest) != crypto.SHA256.Size() {
		return nil, keys.ErrInvalid.Explain("key %s does not sign digests of %d bytes", purpose, len(digest))
	}
	var b batch
	b.add(0, digest)
	out := make([]keys.Signature, 1)
	if err := s.signBatch(ctx, tenant, purpose, version, k, &b, out); err != nil {
		return nil, err
	}
	return out[0].Bytes, out[0].Err
}

// A batch is what goes to Vault in one request.
type batch struct {
	inputs []map[string]string
	of     []int // which message each is
	bytes  int
}

func (b *batch) full(m []byte) bool {
	return len(b.inputs) == batchMax || len(b.inputs) > 0 && b.bytes+base64.StdEncoding.EncodedLen(len(m)) > batchBytes
}

func (b *batch) add(i int, m []byte) {
	b.inputs = append(b.inputs, map[string]string{"input": base64.StdEncoding.EncodeToString(m)})
	b.of = append(b.of, i)
	b.bytes += base64.StdEncoding.EncodedLen(len(m))
}

// signBatch signs b, puts the answers into out and empties b. Vault answers 200
// also where single items failed.
func (s *Store) signBatch(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose, version int, k *key, b *batch, out []keys.Signature) error {
	if len(b.inputs) == 0 {
		return nil
	}
	body := map[string]any{"batch_input": b.inputs, "key_version": version}
	switch k.algorithm {
	case keys.P256:
		body["prehashed"], body["hash_algorithm"], body["marshaling_algorithm"] = true, "sha2-256", "asn1"
	case keys.RSA2048:
		body["prehashed"], body["hash_algorithm"], body["signature_algorithm"] = true, "sha2-256", "pkcs1v15"
	case keys.Ed25519: // signs the message itself
	}
	got, err := s.call(ctx, tenant, s.sign, true, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
		return vault.WriteWithContext(ctx, s.signPath(tenant, purpose), body)
	})
	if err != nil {
		return s.orGarbled(err)
	}
	var results []any
	if got != nil {
		results, _ = got.Data["batch_results"].([]any)
	}
	if len(results) != len(b.inputs) {
		return garbled("%d signatures for %d messages", len(results), len(b.inputs))
	}
	for i, raw := range results {
		out[b.of[i]].Bytes, out[b.of[i]].Err = parseSignature(raw, k.algorithm, version)
	}
	*b = batch{}
	return nil
}

// parseSignature reads one item: {"signature": "vault:v3:...", "key_version": 3}
// or {"error": "..."}.
func parseSignature(raw any, algorithm keys.Algorithm, version int) ([]byte, error) {
	item, ok := raw.(map[string]any)
	if !ok {
		return nil, garbled("a signature is no object")
	}
	if why, ok := item["error"].(string); ok && why != "" {
		return nil, keys.ErrInvalid.Because(nil, "vault did not sign this message: %s", why)
	}
	text, _ := item["signature"].(string)
	encoded, ok := strings.CutPrefix(text, "vault:v"+strconv.Itoa(version)+":")
	if !ok {
		return nil, garbled("a signature that is not of version %d", version)
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, garbled("a signature that is not base64")
	}
	switch algorithm {
	case keys.P256:
		return keys.RawP256(signature)
	case keys.Ed25519:
		if len(signature) != ed25519.SignatureSize {
			return nil, garbled("an Ed25519 signature of %d bytes", len(signature))
		}
	case keys.RSA2048: // its length is the key's
	}
	return signature, nil
}

// parseKey reads what Vault says of a key.
func parseKey(data map[string]any) (*key, error) {
	for _, flag := range []string{"exportable", "allow_plaintext_backup", "derived"} {
		if set, ok := data[flag].(bool); !ok || set {
			return nil, keys.ErrUnsafe.Explain("Vault says that its %s is %v, and nothing is signed with such a key", flag, data[flag])
		}
	}
	k := &key{}
	kind, _ := data["type"].(string)
	for algorithm, name := range types {
		if name == kind {
			k.algorithm = algorithm
		}
	}
	if k.algorithm == "" {
		return nil, keys.ErrUnsafe.Explain("its type is %q", kind)
	}
	entries, _ := data["keys"].(map[string]any)
	for _, number := range slices.Collect(maps.Keys(entries)) {
		v, err := parseVersion(number, entries[number], k.algorithm)
		if err != nil {
			return nil, err
		}
		k.versions = append(k.versions, v)
	}
	if len(k.versions) == 0 {
		return nil, garbled("a key without versions")
	}
	slices.SortFunc(k.versions, func(a, b keys.Version) int { return a.Version - b.Version })
	return k, nil
}

func parseVersion(number string, raw any, algorithm keys.Algorithm) (keys.Version, error) {
	v := keys.Version{Algorithm: algorithm}
	entry, ok := raw.(map[string]any)
	if !ok {
		return v, garbled("a version that is no object")
	}
	var err error
	if v.Version, err = strconv.Atoi(number); err != nil {
		return v, garbled("a version numbered %q", number)
	}
	created, _ := entry["creation_time"].(string)
	if v.Created, err = time.Parse(time.RFC3339Nano, created); err != nil {
		return v, garbled("a version made at %q", created)
	}
	v.Created = v.Created.UTC()
	text, _ := entry["public_key"].(string)
	v.Public, err = parsePublic(text, algorithm)
	return v, err
}

// parsePublic reads a public key: base64 for Ed25519, else PEM.
func parsePublic(text string, algorithm keys.Algorithm) (crypto.PublicKey, error) {
	var public crypto.PublicKey
	if algorithm == keys.Ed25519 {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, garbled("an Ed25519 public key of %d characters", len(text))
		}
		public = ed25519.PublicKey(raw)
	} else {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, garbled("a public key that is not PEM")
		}
		var err error
		if public, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
			return nil, garbled("a public key that is not PKIX")
		}
	}
	// Through the one stored form, which checks curve and size.
	got, _, err := keys.EncodePublic(public)
	if err != nil || got != algorithm {
		return nil, garbled("a public key that is not %s", algorithm)
	}
	return public, nil
}

func garbled(format string, args ...any) error {
	return &keys.Unavailable{Reason: keys.Garbled, After: time.Second, Cause: fmt.Errorf(format, args...)}
}

// orGarbled gives what Vault refuses with 400, and we did not expect, a code.
func (s *Store) orGarbled(err error) error {
	var code *citygate.Code
	if errors.As(err, &code) || errors.Is(err, context.Canceled) {
		return err
	}
	return keys.ErrInvalid.Because(plain(err), "vault")
}

func intOf(v any) (int, error) {
	switch n := v.(type) {
	case json.Number:
		i, err := n.Int64()
		return int(i), err
	default:
		return 0, fmt.Errorf("%v is no number", v)
	}
}
