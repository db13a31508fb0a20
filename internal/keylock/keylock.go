// Package keylock lets one caller at a time do what concerns one key.
package keylock

import (
	"context"
	"sync"
)

// Locks are one lock for each key that somebody holds or waits for. The zero value is
// ready for use. It is safe for concurrent use.
type Locks[K comparable] struct {
	mu   sync.Mutex // guards held
	held map[K]*lock
}

// lock is held by whoever took its token.
type lock struct {
	token chan struct{}
	users int // that hold it or wait for it
}

// Lock waits until nobody else holds the lock of key, and takes it. The caller must call
// unlock once. It fails with the context's error.
func (l *Locks[K]) Lock(ctx context.Context, key K) (unlock func(), err error) {
	k := l.join(key)
	select {
	case k.token <- struct{}{}:
		return func() {
			<-k.token
			l.leave(key, k)
		}, nil
	case <-ctx.Done():
		l.leave(key, k)
		return nil, ctx.Err()
	}
}

func (l *Locks[K]) join(key K) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.held[key]
	if k == nil {
		k = &lock{token: make(chan struct{}, 1)}
		if l.held == nil {
			l.held = make(map[K]*lock)
		}
		l.held[key] = k
	}
	k.users++
	return k
}

func (l *Locks[K]) leave(key K, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}

// Len returns how many keys somebody holds or waits for.
func (l *Locks[K]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}
