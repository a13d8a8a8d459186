package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cashlesscity/citygate"
)

// Tasks that hang take the slots of nobody else for longer than a moment, and a
// tenant never has more than its share.
func TestWhatHangsTakesNoSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBulkhead(8, time.Now, func(err error) { t.Error(err) })
		defer b.Stop()
		began := 0
		hang := func(ctx context.Context) error { began++; <-ctx.Done(); return ctx.Err() }
		start := func(tenant citygate.TenantID, contract string, work func(context.Context) error) {
			if err := b.Do(t.Context(), TaskBills, tenant, contract, work); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		for i := range 10 {
			start(1, fmt.Sprint("c", i), hang)
		}
		if began != 2 {
			t.Errorf("a tenant has %d of 8 slots, want its quarter", began)
		}
		for tenant := range citygate.TenantID(20) {
			start(2+tenant, "c", hang)
		}
		if began != 8 {
			t.Errorf("%d tasks at once, want 8", began)
		}
		time.Sleep(hung)
		did := false
		start(100, "c", func(context.Context) error { did = true; return nil })
		if !did {
			t.Error("eight that hang keep another tenant out")
		}
		start(100, "c", func(context.Context) error { did = false; return nil })
		if did {
			t.Error("a task that is over cannot be done again")
		}
		did = false
		start(2, "c", func(context.Context) error { did = true; return nil })
		if did {
			t.Error("a task is done twice at once")
		}
		_ = b.Do(t.Context(), TaskCodes, 2, "c", func(context.Context) error { did = true; return nil }) // nil: see above
		synctest.Wait()
		if !did {
			t.Error("a bill that hangs keeps its contract's codes waiting")
		}
	})
}

// Providers that hang whenever they are asked take slots for a moment the first time
// alone, until they answer again.
func TestWhatHungBeforeTakesNoSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4
		b := NewBulkhead(most, time.Now, func(error) {})
		defer b.Stop()
		takes := 2 * hung
		slow := func(context.Context) error { time.Sleep(takes); return nil }
		round := func() (others bool) {
			t.Helper()
			for tenant := range citygate.TenantID(most) {
				_ = b.Do(t.Context(), TaskCharges, 1+tenant, "c", slow) // nil: it is done beside
			}
			synctest.Wait()
			_ = b.Do(t.Context(), TaskCharges, 100, "c", func(context.Context) error { others = true; return nil })
			synctest.Wait()
			time.Sleep(takes)
			synctest.Wait()
			return others
		}
		if round() {
			t.Error("as many as may be at once kept nobody waiting for a moment: the test proves nothing")
		}
		if !round() {
			t.Error("providers that hung the last time keep others waiting again")
		}
		takes = 0
		round() // they answer again
		takes = hung - 1
		if round() {
			t.Error("providers that answer again are counted no more")
		}
	})
}

// What hangs takes memory, so however long it goes on there is only so much of it; when
// it is over, others have its place.
func TestHowMuchMayHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 2
		b := NewBulkhead(most, time.Now, func(error) {})
		defer b.Stop()
		began, end := 0, make(chan struct{})
		start := func(tenant citygate.TenantID) {
			err := b.Do(t.Context(), TaskBills, tenant, "c", func(ctx context.Context) error {
				began++
				select {
				case <-ctx.Done():
				case <-end:
				}
				return ctx.Err()
			})
			if err != nil {
				t.Error(err)
			}
			synctest.Wait()
			time.Sleep(hung)
		}
		for tenant := range citygate.TenantID(most*hungAtMost + 3) {
			start(1 + tenant)
		}
		if began != most*hungAtMost {
			t.Errorf("%d hang at once; want %d", began, most*hungAtMost)
		}
		close(end)
		synctest.Wait()
		if start(1000); began != most*hungAtMost+1 {
			t.Error("when they are over nobody is let in")
		}
	})
}

// A task that fails again and again is left alone for longer each time, and others
// of its contract are not.
func TestWhatFailsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := 0
		b := NewBulkhead(8, time.Now, func(error) { heard++ })
		defer b.Stop()
		tries := map[Task]int{}
		try := func(task Task, err error) {
			_ = b.Do(t.Context(), task, 1, "c", func(context.Context) error { tries[task]++; return err })
			synctest.Wait()
		}
		away := errors.New("away")
		for range 3600 {
			try(TaskBills, away)
			try(TaskCharges, away)
			try(TaskTill, away)
			time.Sleep(time.Second)
		}
		if n := tries[TaskBills]; n < 8 || n > 12 || tries[TaskCharges] != 3600 || tries[TaskTill] != 3600 || heard != n+7200 {
			t.Errorf("in an hour bills were tried %d times, charges %d, payments at tills %d; %d faults were heard of", n, tries[TaskCharges], tries[TaskTill], heard)
		}
		time.Sleep(pauseMost)
		try(TaskBills, nil)
		before := tries[TaskBills]
		try(TaskBills, away)
		try(TaskBills, away)
		if tries[TaskBills] != before+2 {
			t.Error("one success does not begin anew")
		}
	})
}

// A task that panics fails, as any other does: the process and its other tasks go on.
func TestAPanicIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults []error
		b := NewBulkhead(8, time.Now, func(err error) { faults = append(faults, err) })
		defer b.Stop()
		secret := "wallet-secret"
		_ = b.Do(t.Context(), TaskBills, 1, "c", func(context.Context) error { panic(secret) }) // nil: see above
		synctest.Wait()
		did := false
		_ = b.Do(t.Context(), TaskBills, 2, "c", func(context.Context) error { did = true; return nil }) // nil: see above
		synctest.Wait()
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), "contract c") || !strings.Contains(faults[0].Error(), "bulkhead_test.go") || !did {
			t.Errorf("faults %v; another tenant's task was done: %v", faults, did)
		} else if strings.Contains(faults[0].Error(), secret) {
			t.Errorf("what an adapter panics with may be a secret, and is in %v", faults[0])
		}
	})
}

// Without a bulkhead the caller does the work and has its error.
func TestWithoutABulkheadTheCallerWorks(t *testing.T) {
	away := errors.New("away")
	if err := (*Bulkhead)(nil).Do(t.Context(), TaskLists, 1, "c", func(context.Context) error { return away }); !errors.Is(err, away) {
		t.Error(err)
	}
}
