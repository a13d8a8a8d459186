package recon

// JoinRows bounds the rows that r joins in one transaction.
func JoinRows(r *Reconciler, rows int) { r.rows = rows }
