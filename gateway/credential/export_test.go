package credential

// AccountsByRef is what OpenAccounts reads accounts by.
const AccountsByRef = accountsByRef
