package citygate

import (
	"fmt"
	"log/slog"
)

// A Secret is key material or a credential that must not reach a log, an error
// or a response: every way of printing it gives "[secret]". Reveal is the one
// way to its bytes.
type Secret struct{ value []byte }

// NewSecret wraps a copy of value.
func NewSecret(value []byte) Secret { return Secret{append([]byte(nil), value...)} }

// Reveal gives the bytes. The caller must not print or keep them.
func (s Secret) Reveal() []byte { return s.value }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return len(s.value) == 0 }

// String hides the value.
func (s Secret) String() string { return "[secret]" }

// Format hides the value whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// MarshalText hides the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// LogValue hides the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }
