package recon

// JoinRows bounds the rows that r joins in one transaction.
func JoinRows(r *Reconciler, rows int) { r.rows = rows }

// Apart has r correct other issues of bills thing by thing.
func Apart(r *Reconciler) { r.apart = true }
