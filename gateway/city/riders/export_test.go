package riders

import "github.com/cashlesscity/citygate/gateway/journey"

// Dearer prices what is completed above what it would cost incomplete.
func Dearer(*journey.Journey) (amount, incomplete int64, err error) { return 2, 1, nil }
