package code

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Credentials is a [CredentialCache] of fixed capacity. When it is full, an
// entry that was not read since the hand last passed it gives way (the clock
// algorithm), so a rider who shows a code daily outlives one who passed through.
//
// The keys are SHA-256 sums made by the scheme, hence spread evenly over the
// shards, and nobody can aim at one shard without an issuer's signature: only a
// credential whose issuer signature held is ever put in.
type Credentials struct{ shards []shard }

type shard struct {
	mu    sync.RWMutex
	where map[[32]byte]uint32
	slots []slot
	hand  uint32
	limit int
}

type slot struct {
	key       [32]byte
	deviceKey any
	read      *atomic.Bool
}

const shardCount = 64 // a power of two; locks are held for a map access only

// NewCredentials makes a cache for at most capacity credentials, rounded up to
// a multiple of 64. It allocates as it fills, about 400 bytes a credential.
func NewCredentials(capacity int) *Credentials {
	c := &Credentials{shards: make([]shard, shardCount)}
	for i := range c.shards {
		c.shards[i].limit = max(1, (capacity+shardCount-1)/shardCount)
		c.shards[i].where = make(map[[32]byte]uint32)
	}
	return c
}

func (c *Credentials) shard(key *[32]byte) *shard {
	return &c.shards[binary.LittleEndian.Uint32(key[:4])%shardCount]
}

// Get gives the device key put under key, if it is still there.
func (c *Credentials) Get(key [32]byte) (deviceKey any, ok bool) {
	s := c.shard(&key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.where[key]
	if !ok {
		return nil, false
	}
	if at := &s.slots[i]; !at.read.Load() { // most hits need no write to shared memory
		at.read.Store(true)
	}
	return s.slots[i].deviceKey, true
}

// Put remembers deviceKey under key, in place of another entry when full.
func (c *Credentials) Put(key [32]byte, deviceKey any) {
	s := c.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.where[key]; ok {
		s.slots[i].deviceKey = deviceKey
		return
	}
	if len(s.slots) < s.limit {
		s.where[key] = uint32(len(s.slots))
		s.slots = append(s.slots, slot{key, deviceKey, new(atomic.Bool)})
		return
	}
	for s.slots[s.hand].read.Swap(false) { // ends: the second round finds what the first cleared
		s.hand = (s.hand + 1) % uint32(len(s.slots))
	}
	at := &s.slots[s.hand]
	delete(s.where, at.key)
	at.key, at.deviceKey = key, deviceKey
	s.where[key] = s.hand
	s.hand = (s.hand + 1) % uint32(len(s.slots))
}

// A Memory is a [DisplayMemory] of fixed capacities.
type Memory struct {
	*Credentials
	displays *Credentials
}

// NewMemory makes a memory for as many credentials and displays.
func NewMemory(credentials, displays int) *Memory {
	return &Memory{NewCredentials(credentials), NewCredentials(displays)}
}

// Held implements [DisplayMemory].
func (m *Memory) Held(display [32]byte) bool {
	_, ok := m.displays.Get(display)
	return ok
}

// Hold implements [DisplayMemory].
func (m *Memory) Hold(display [32]byte) { m.displays.Put(display, nil) }

// Len gives the number of credentials held.
func (c *Credentials) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.slots)
		s.mu.RUnlock()
	}
	return n
}
