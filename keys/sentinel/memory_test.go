package sentinel_test

import (
	"context"

	"github.com/cashlesscity/citygate"
)

// memory is a store that has one secret under every name.
type memory struct{}

func (memory) Put(context.Context, citygate.TenantID, string, citygate.Secret, int) (int, error) {
	return 1, nil
}

func (memory) Get(context.Context, citygate.TenantID, string) (citygate.Secret, int, error) {
	return citygate.NewSecret([]byte("what is kept already")), 1, nil
}
