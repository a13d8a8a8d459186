package main

// pageRows is how many rows of a list are read at a time, so that a long one needs no memory.
const pageRows = 500

// eachPage visits a list that is read in pages of [pageRows] behind its last row.
func eachPage[T any](read func(last *T) ([]T, error), visit func(*T) error) error {
	var last T
	for {
		found, err := read(&last)
		if err != nil {
			return err
		}
		for i := range found {
			last = found[i]
			if err := visit(&last); err != nil {
				return err
			}
		}
		if len(found) < pageRows {
			return nil
		}
	}
}
