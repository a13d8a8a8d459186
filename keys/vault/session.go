package vault

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/cashlesscity/citygate/keys"
)

const (
	// loginEvery is the shortest time between two logins of an identity: Vault
	// coming back is not met by a storm.
	loginEvery = 5 * time.Second
	// backoffFirst and backoffLongest bound the waits of the background login.
	backoffFirst   = 500 * time.Millisecond
	backoffLongest = loginEvery
	// revokeWithin bounds the handing back of a token at the end.
	revokeWithin = time.Second
)

// errTooSoon is in an error that says nothing new about the server.
var errTooSoon = errors.New("a login was tried moments ago")

// A session is one identity's token, kept alive.
type session struct {
	name   string
	store  *Store
	client *api.Client // has the token
	method Login
	fork   func() (*api.Client, error) // gives a client without one
	log    *slog.Logger

	mu      sync.Mutex
	number  int       // of the token; 0 = none yet
	expires time.Time // zero = never
	late    bool      // it is past half of what was left when it should have been renewed
	tried   time.Time // the last login or look at the token
	lastErr error     // what came of that
	running chan struct{}

	fresh chan *api.Secret // newest token, for the keeper
	stop  context.CancelFunc
	ended chan struct{} // closed when the keeper has ended; nil = not started
}

func (s *Store) newSession(name string, c Config, method Login) (*session, error) {
	client, err := s.newClient(c)
	if err != nil {
		return nil, err
	}
	return &session{
		name: name, store: s, client: client, method: method, log: s.log.With("identity", name),
		fork: func() (*api.Client, error) { return s.newClient(c) }, fresh: make(chan *api.Secret, 1),
	}, nil
}

// start logs in and begins to keep the token. A login that is refused is an
// error; a server that cannot be asked is met later.
func (se *session) start(ctx context.Context) error {
	err := se.replace(ctx, 0)
	var unavailable *keys.Unavailable
	if err != nil && (!errors.As(err, &unavailable) || unavailable.Reason == keys.Denied) {
		return err
	}
	if err != nil {
		se.log.Error("vault: no login yet; it is tried again in the background", "error", err)
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	se.stop, se.ended = stop, make(chan struct{})
	go se.keep(keep)
	return nil
}

func (se *session) close(ctx context.Context) {
	if se.stop == nil {
		return
	}
	se.stop()
	<-se.ended
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWithin)
	defer cancel()
	if se.client.Token() != "" {
		_, err := se.client.Logical().WriteWithContext(ctx, "auth/token/revoke-self", nil)
		if err != nil {
			se.log.Warn("vault: the token was not handed back and lives until it expires", "error", plain(err))
		}
	}
	se.client.ClearToken()
}

// ready gives the number of the token that a request goes with.
func (se *session) ready(ctx context.Context) (int, error) {
	se.mu.Lock()
	number := se.number
	se.mu.Unlock()
	if number > 0 {
		return number, nil
	}
	if err := se.replace(ctx, 0); err != nil {
		return 0, err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	return se.number, nil
}

// replace gets a new token in place of the one with the number used, which a
// request was refused with. Callers at the same time share one login, and there
// is one in [loginEvery] at most. A token that is still good is kept: then the
// policy refuses, and [keys.ErrForbidden] says so.
func (se *session) replace(ctx context.Context, used int) error { return se.begin(ctx, used, true) }

func (se *session) begin(ctx context.Context, used int, look bool) error {
	se.mu.Lock()
	if se.number != used {
		se.mu.Unlock()
		return nil // somebody was first
	}
	if se.running == nil {
		if wait := se.tried.Add(loginEvery).Sub(se.store.clock()); wait > 0 && !se.tried.IsZero() {
			defer se.mu.Unlock()
			return tooSoon(se.lastErr, wait)
		}
		se.tried, se.running = se.store.clock(), make(chan struct{})
		go se.run(context.WithoutCancel(ctx), used, look)
	}
	running := se.running
	se.mu.Unlock()
	select {
	case <-running:
	case <-ctx.Done():
		return &keys.Unavailable{Reason: keys.Slow, After: time.Second, Cause: ctx.Err()}
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.number != used {
		return nil
	}
	return se.lastErr
}

// tooSoon is the last answer, said again.
func tooSoon(last error, wait time.Duration) error {
	if errors.Is(last, keys.ErrForbidden) {
		return last
	}
	reason := keys.Denied
	var u *keys.Unavailable
	if errors.As(last, &u) {
		reason = u.Reason
	}
	return &keys.Unavailable{Reason: reason, After: wait, Cause: errors.Join(errTooSoon, last)}
}

// run looks at the token, if asked to, and logs in.
func (se *session) run(ctx context.Context, used int, look bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*se.store.deadline) // up to four requests
	defer cancel()
	var got *api.Secret
	err := se.look(ctx, used > 0 && look)
	if err == nil {
		got, err = se.login(ctx)
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	se.lastErr = err
	if err == nil {
		se.client.SetToken(got.Auth.ClientToken)
		se.number++
		se.lives(got.Auth.LeaseDuration)
		select { // the keeper wants the newest
		case <-se.fresh:
		default:
		}
		se.fresh <- got
	}
	close(se.running)
	se.running = nil
}

// look gives [keys.ErrForbidden] if the token is good.
func (se *session) look(ctx context.Context, wanted bool) error {
	if !wanted {
		return nil
	}
	_, err := se.client.Logical().ReadWithContext(ctx, "auth/token/lookup-self")
	switch {
	case err == nil:
		return keys.ErrForbidden.Because(nil, "the token is good and its policies do not allow this")
	case isClientError(err):
		return nil
	default:
		return se.store.explain(err)
	}
}

func (se *session) login(ctx context.Context) (*api.Secret, error) {
	got, err := se.method.login(ctx, se.fork)
	switch {
	case isClientError(err) || errors.Is(err, ErrWrapping):
		return nil, &keys.Unavailable{Reason: keys.Denied, After: loginEvery, Cause: plain(err)}
	case err != nil:
		return nil, se.store.explain(err)
	case got == nil || got.Auth == nil || got.Auth.ClientToken == "":
		return nil, &keys.Unavailable{Reason: keys.Garbled, After: loginEvery}
	}
	return got, nil
}

// lives notes until when the token lives. The caller holds mu.
func (se *session) lives(seconds int) {
	se.late, se.expires = false, time.Time{}
	if seconds > 0 {
		se.expires = se.store.clock().Add(time.Duration(seconds) * time.Second)
	}
}

// keep follows one token after another.
func (se *session) keep(ctx context.Context) {
	defer close(se.ended)
	var token *api.Secret
	select {
	case token = <-se.fresh:
	default: // no login yet
	}
	for ctx.Err() == nil {
		token = se.follow(ctx, token)
	}
}

// follow renews a token for as long as it can be, then logs in anew, and gives
// the next one. Whoever logs in meanwhile has the same effect.
func (se *session) follow(ctx context.Context, token *api.Secret) (next *api.Secret) {
	var renewed <-chan *api.RenewOutput
	var over <-chan error
	alarm := newTimer()
	defer alarm.Stop()
	again := newTimer()
	defer again.Stop()
	switch {
	case token == nil:
		again.Reset(0)
	case token.Auth.LeaseDuration > 0:
		watcher, err := se.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: token})
		if err != nil {
			se.log.Error("vault: the token is not watched", "error", err)
			return nil
		}
		go watcher.Start()
		defer watcher.Stop()
		renewed, over = watcher.RenewCh(), watcher.DoneCh()
		alarm.Reset(alarmAfter(token.Auth.LeaseDuration))
	}
	backoff := backoffFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case next = <-se.fresh:
			return next
		case r := <-renewed:
			if left := r.Secret.Auth.LeaseDuration; left > 0 { // 0 = less than a second: the watcher ends
				se.mu.Lock()
				se.lives(left)
				se.mu.Unlock()
				alarm.Reset(alarmAfter(left))
			}
		case err := <-over:
			// nil is no better: at its longest life the watcher ends that way.
			se.log.Info("vault: the token is not renewed any more; logging in anew", "cause", err)
			over, renewed = nil, nil
			again.Reset(0)
		case <-again.C:
			se.mu.Lock()
			number := se.number
			se.mu.Unlock()
			if err := se.begin(ctx, number, false); err != nil && ctx.Err() == nil {
				se.log.Warn("vault: no new login yet", "error", err)
				again.Reset(backoff/2 + time.Duration(se.store.random.Int64N(int64(backoff))))
				backoff = min(2*backoff, backoffLongest)
			}
		case <-alarm.C:
			se.mu.Lock()
			se.late = true
			expires := se.expires
			se.mu.Unlock()
			se.log.Error("vault: the token was not renewed in time; signing ends when it expires", "expires", expires)
		}
	}
}

// newTimer gives a timer that does not run yet.
func newTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// alarmAfter is when a token of that life is late: renewal is due after two
// thirds of it, and half of what is left then has passed.
func alarmAfter(seconds int) time.Duration {
	return time.Duration(seconds) * time.Second * 5 / 6
}

// A Health is how the connection to Vault stands.
type Health struct {
	Refusing bool        // calls are refused at once, as the last ones failed
	Reason   keys.Reason // why they failed
	Tokens   []TokenHealth
}

// A TokenHealth is how an identity's token stands.
type TokenHealth struct {
	Identity string    // sign or admin
	LoggedIn bool      // there is a token, which may have been revoked since
	Late     bool      // it should have been renewed and was not: an alarm
	Expires  time.Time // zero = it does not
	Logins   int       // since the start
}

// Health tells how the connection stands, without asking Vault.
func (s *Store) Health() Health {
	var h Health
	if h.Refusing, h.Reason = s.breaker.state(); !h.Refusing {
		h.Reason = ""
	}
	for _, se := range s.sessions() {
		se.mu.Lock()
		h.Tokens = append(h.Tokens, TokenHealth{se.name, se.number > 0, se.late, se.expires, se.number})
		se.mu.Unlock()
	}
	return h
}
