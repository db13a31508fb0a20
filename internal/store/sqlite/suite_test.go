package sqlite_test

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/store/storetest"
)

func TestSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Store {
		p := newPlace(t)
		p.now = now
		return p.open(t)
	})
}
