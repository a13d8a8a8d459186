package credential

// AccountsByRef is what OpenAccounts reads accounts by.
const AccountsByRef = accountsByRef

// OrderAt gives the n-th place of the order under key.
func OrderAt(key []byte, size uint32) (at func(n uint32) uint32, err error) {
	o, err := newOrder(key, size)
	return o.at, err
}

// DeniedOfList is the statement that reads a whole list.
const DeniedOfList = deniedOfList
